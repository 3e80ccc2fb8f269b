/** Which batches are measured. */
import type { BatchSpec } from "./measure-batch.ts";

const KIB = 1024;

export const ANSWER_KINDS = [
  { name: "small", answerBytes: 1 * KIB },
  { name: "usual", answerBytes: 4 * KIB },
  { name: "embedding", answerBytes: 60 * KIB },
] as const;

const MEAN_LATENCY_SECONDS = 2;

export const SIZE_SPECS: readonly BatchSpec[] = [5000, 50_000].flatMap((lines) =>
  ANSWER_KINDS.map(({ answerBytes }) => ({ lines, answerBytes, meanLatencySeconds: MEAN_LATENCY_SECONDS })),
);

/** Answers of 4 KB that take a shorter or a longer time than usual. */
export const LATENCY_SPECS: readonly BatchSpec[] = [0.5, 5, 15, 30].map((meanLatencySeconds) => ({
  lines: 5000,
  answerBytes: 4 * KIB,
  meanLatencySeconds,
}));

/** Small batches. */
export const SMALL_SPECS: readonly BatchSpec[] = [10, 100, 1000].map((lines) => ({
  lines,
  answerBytes: 4 * KIB,
  meanLatencySeconds: MEAN_LATENCY_SECONDS,
}));

export const COST_SPECS: readonly BatchSpec[] = [...SIZE_SPECS, ...LATENCY_SPECS, ...SMALL_SPECS];
