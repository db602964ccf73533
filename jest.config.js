/** Unit, provider-process and engine tests; each file makes and removes its own temporary folder. */
module.exports = {
  testEnvironment: "node",
  roots: ["<rootDir>/tests"],
  testMatch: ["**/*.test.ts"],
  transform: { "^.+\\.ts$": ["ts-jest", { tsconfig: "tsconfig.json", diagnostics: false }] },
  testTimeout: 120000,
  // Most of the time goes to waiting for engines, daemons and key exchanges.
  maxWorkers: 2,
};
