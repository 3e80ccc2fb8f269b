/** What vitest.config.ts hands over from the environment, which workerd does not have. */

export interface FaultSettings {
  readonly firstSeed: number;
  readonly schedules: number;
  /** How many outages are played with 5,000 lines: test/faults/large-outages.test.ts. */
  readonly largeOutages: number;
}

declare module "vitest" {
  interface ProvidedContext {
    readonly faults: FaultSettings;
  }
}
