/** What the benchmarks and the mock upstream say to each other over IPC. */

export interface MockSettings {
  /** Of every answer, or their median when there is a tail. */
  readonly latencyMs: number;
  /** Sigma of a log-normal distribution; 0: every answer takes the same time. */
  readonly tailSigma: number;
  /** Requests worked on at once; what comes beyond waits. 0: any number. */
  readonly slots: number;
  /** Between 0 and 1: so many are answered with a 500. */
  readonly errorShare: number;
  readonly answerBytes: number;
  readonly seed: number;
}

export interface MockStatistics {
  readonly requests: number;
  readonly errors: number;
  /** From the first request to the last answer. */
  readonly ms: number;
  /** Milliseconds of that during which so many requests, the index, were there at once; holes are zeros. */
  readonly msAtInFlight: readonly (number | null | undefined)[];
}

export type MockOrder =
  | { readonly kind: "configure"; readonly settings: Partial<MockSettings> }
  | { readonly kind: "report" };

export type MockAnswer =
  | { readonly kind: "ready"; readonly port: number }
  | { readonly kind: "configured" }
  | { readonly kind: "statistics"; readonly statistics: MockStatistics };
