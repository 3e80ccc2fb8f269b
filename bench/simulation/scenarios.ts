/** The situations that are simulated. One seed for all, so that two runs differ in what was changed alone. */
import { writeAnswer } from "../edge/answers.ts";
import { type Dice, drawLogNormal } from "../edge/dice.ts";
import type { WorkloadOptions } from "./workload.ts";

export interface ScenarioUpstream {
  readonly name: string;
  /** What the operator wrote as `max_in_flight`. */
  readonly setting: number;
  readonly drawLatencyMs: (dice: Dice) => number;
  /** The body of a good answer. */
  readonly answer: string;
  /** What it really takes at once, and a second. Null: any number. */
  readonly maxInFlight: number | null;
  readonly maxPerSecond: number | null;
  readonly retryAfterSeconds: number | null;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly seed: number;
  readonly workload: Pick<WorkloadOptions, "batches" | "tenants" | "arrivalMs" | "lines">;
  readonly upstreams: readonly ScenarioUpstream[];
  readonly scaling: "at_once" | "by_completions";
  /** Lines in flight that the edge and the upstreams allow together. */
  readonly slots: number;
  /** A second plot: each batch's time by its size. */
  readonly isDrawnBySize?: true;
}

/** 250 consumers, five lines each. */
const EDGE_SLOTS = 1250;
const BUDGET = 400;

/** Long-tailed: half under 3 s, one in eight over 10 s, cut off at 1 s and 60 s; 5.2 s on average. */
function drawLongTail(dice: Dice): number {
  return drawLogNormal(dice, { median: 3000, sigma: 1.05, least: 1000, most: 60_000 });
}

const MEAN_LATENCY_SECONDS = 5.2;

const AMPLE: ScenarioUpstream = {
  name: "ample",
  setting: EDGE_SLOTS,
  drawLatencyMs: drawLongTail,
  // Small, because every byte of it is carried about; only time is looked at.
  answer: writeAnswer(0),
  maxInFlight: null,
  maxPerSecond: null,
  retryAfterSeconds: null,
};

/** Mostly small batches; the few large ones hold most of the lines. All come within two minutes. */
const THOUSAND_BATCHES = {
  batches: 1000,
  tenants: 100,
  arrivalMs: 120_000,
  lines: { median: 60, sigma: 1.4, most: 10_000 },
};

const COMMON = { seed: 20_261_001, scaling: "at_once", slots: EDGE_SLOTS, workload: THOUSAND_BATCHES } as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    ...COMMON,
    name: "ample",
    title: "An upstream that takes everything, max_in_flight 1,250",
    upstreams: [AMPLE],
    isDrawnBySize: true,
  },
  {
    ...COMMON,
    name: "in-flight",
    title: "An upstream that takes 400 at once, max_in_flight 400",
    upstreams: [{ ...AMPLE, name: "in-flight", setting: BUDGET, maxInFlight: BUDGET }],
    slots: BUDGET,
  },
  {
    ...COMMON,
    name: "too-high",
    title: "An upstream that takes 400 at once, max_in_flight 1,250",
    upstreams: [{ ...AMPLE, name: "too-high", maxInFlight: BUDGET }],
    slots: BUDGET,
  },
  {
    ...COMMON,
    name: "rate",
    title: "An upstream that takes 80 requests a second and asks for 5 s of patience, max_in_flight 1,250",
    upstreams: [{ ...AMPLE, name: "rate", maxPerSecond: 80, retryAfterSeconds: 5 }],
    slots: Math.round(80 * MEAN_LATENCY_SECONDS),
  },
  {
    ...COMMON,
    name: "slow-scaling",
    title: "As the first, with consumers that come one for each that ends",
    upstreams: [{ ...AMPLE, name: "slow-scaling" }],
    scaling: "by_completions",
  },
  {
    ...COMMON,
    name: "one-batch",
    title: "One batch of 5,000 lines alone, max_in_flight 64",
    workload: { batches: 1, tenants: 1, arrivalMs: 1, lines: { median: 5000, sigma: 0, most: 5000 } },
    upstreams: [{ ...AMPLE, name: "one-batch", setting: 64 }],
    slots: 64,
  },
];
