/** What vitest.config.ts hands over from the environment, which workerd does not have. */

export interface FaultSettings {
  readonly firstSeed: number;
  readonly schedules: number;
}

declare module "vitest" {
  interface ProvidedContext {
    readonly faults: FaultSettings;
  }
}
