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
}

/** 250 consumers, five lines each. */
const EDGE_SLOTS = 1250;

/** Long-tailed: half under 3 s, one in eight over 10 s, cut off at 60 s. */
export function drawLongTail(dice: Dice): number {
  return drawLogNormal(dice, { median: 3000, sigma: 1.05, least: 1000, most: 60_000 });
}

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

const MIXED_SIZES = { median: 100, sigma: 1.6, most: 20_000 };
const THOUSAND_BATCHES = { batches: 1000, tenants: 100, arrivalMs: 600_000, lines: MIXED_SIZES };

const COMMON = { seed: 20_261_001, scaling: "at_once", slots: EDGE_SLOTS } as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    ...COMMON,
    name: "ample",
    title: "an upstream that takes everything (max_in_flight 1,250)",
    workload: THOUSAND_BATCHES,
    upstreams: [AMPLE],
  },
  {
    ...COMMON,
    name: "in-flight",
    title: "an upstream that takes 400 at once, set to 400",
    workload: THOUSAND_BATCHES,
    upstreams: [{ ...AMPLE, name: "in-flight", setting: 400, maxInFlight: 400 }],
    slots: 400,
  },
];
