/**
 * Unit, provider-process, engine and lab tests; each file makes and removes its own temporary folder. The lab says itself
 * where it cannot run (docs/lab.md).
 */
module.exports = {
  testEnvironment: "node",
  roots: ["<rootDir>/tests"],
  testMatch: ["**/*.test.ts"],
  transform: { "^.+\\.ts$": ["ts-jest", { tsconfig: "tsconfig.json", diagnostics: false }] },
  // For what hangs: on a busy machine a test of several engine runs takes minutes.
  testTimeout: 900000,
  // Most of the time goes to waiting for engines, daemons and key exchanges.
  maxWorkers: 2,
};
