/** Unit, provider-process and engine tests; each file makes and removes its own temporary folder. */
module.exports = {
  testEnvironment: "node",
  roots: ["<rootDir>/tests"],
  testMatch: ["**/*.test.ts"],
  // The lab boots real hosts for a quarter of an hour and wants the machine to itself: SSH_KEEPALIVE_LAB=require runs it.
  testPathIgnorePatterns: ["/node_modules/", ...(process.env.SSH_KEEPALIVE_LAB ? [] : ["<rootDir>/tests/lab/"])],
  transform: { "^.+\\.ts$": ["ts-jest", { tsconfig: "tsconfig.json", diagnostics: false }] },
  testTimeout: 300000,
  // Most of the time goes to waiting for engines, daemons and key exchanges.
  maxWorkers: 2,
};
