/** The messages between a benchmark and the process of the mock upstream, over IPC. */

export interface MockSettings {
  /** Of every answer, or their median when there is a tail. */
  readonly latencyMs: number;
  /** Sigma of a log-normal distribution; 0: every answer takes the same time. */
  readonly tailSigma: number;
  /** Requests worked on at once; what comes beyond waits. 0: any number. */
  readonly slots: number;
  /** The part of the requests that is answered with a 500, between 0 and 1. */
  readonly errorShare: number;
  readonly answerBytes: number;
  readonly seed: number;
}

export interface MockStatistics {
  readonly requests: number;
  readonly errors: number;
  /** From the first request to the last answer. */
  readonly ms: number;
  /** At index n: the milliseconds of that time during which n requests were in flight. A missing value is 0. */
  readonly msAtInFlight: readonly (number | null | undefined)[];
}

export type MockOrder =
  | { readonly kind: "configure"; readonly settings: Partial<MockSettings> }
  | { readonly kind: "report" };

export type MockAnswer =
  | { readonly kind: "ready"; readonly port: number }
  | { readonly kind: "configured" }
  | { readonly kind: "statistics"; readonly statistics: MockStatistics };
