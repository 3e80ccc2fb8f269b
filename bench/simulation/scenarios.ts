/** The situations that are simulated. All have one seed, so that two runs differ only in what was changed. */
import { writeAnswer } from "../edge/answers.ts";
import { type Random, drawLogNormal } from "../random.ts";
import type { OrderedBatch, WorkloadOptions } from "./workload.ts";

export interface ScenarioUpstream {
  readonly name: string;
  /** The setting `max_in_flight`. */
  readonly maxInFlight: number;
  readonly drawLatencyMs: (random: Random) => number;
  /** The body of a good answer. */
  readonly answer: string;
  /** How many requests it really accepts at once, and per second. Null: any number. */
  readonly capacity: number | null;
  readonly capacityPerSecond: number | null;
  readonly retryAfterSeconds: number | null;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly seed: number;
  readonly workload: Pick<WorkloadOptions, "batches" | "tenants" | "arrivalMs" | "lines">;
  /** In place of those that are drawn. */
  readonly orders?: readonly OrderedBatch[];
  readonly upstreams: readonly ScenarioUpstream[];
  readonly scaling: "at_once" | "by_completions";
  /** Dispatch queues; one unless told. */
  readonly queues?: number;
  /** Lines in flight that the edge and the upstreams allow together. */
  readonly slots: number;
  /** A plot of its course is written. */
  readonly isDrawn?: true;
  /** A second plot: each batch's time by its size. */
  readonly isDrawnBySize?: true;
}

/** 250 consumers, five lines each. */
const EDGE_SLOTS = 1250;
const CAPACITY = 400;

/** Long-tailed: half under 3 s, one in eight over 10 s, cut off at 1 s and 60 s; 5.2 s on average. */
function drawLongTail(random: Random): number {
  return drawLogNormal(random, { median: 3000, sigma: 1.05, least: 1000, most: 60_000 });
}

const MEAN_LATENCY_SECONDS = 5.2;

const AMPLE: ScenarioUpstream = {
  name: "ample",
  maxInFlight: EDGE_SLOTS,
  drawLatencyMs: drawLongTail,
  // Small, because every byte of it is copied many times, and only time is measured.
  answer: writeAnswer(0),
  capacity: null,
  capacityPerSecond: null,
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

const ONE_BATCH: Omit<Scenario, "name" | "title"> = {
  ...COMMON,
  workload: oneBatch(5000),
  upstreams: [{ ...AMPLE, name: "one-batch", maxInFlight: 64 }],
  slots: 64,
};

/** How soon does one batch on an idle deployment have its consumers? */
const ALONE: readonly (Pick<Scenario, "name" | "title"> & Partial<Scenario>)[] = [
  { name: "alone-5000", title: "5,000 lines alone, max_in_flight 64" },
  { name: "alone-500", title: "500 lines alone, max_in_flight 64", workload: oneBatch(500) },
  {
    name: "alone-500-of-30-s",
    title: "500 lines of 30 s alone, max_in_flight 64",
    workload: oneBatch(500),
    upstreams: [{ ...AMPLE, name: "one-batch", maxInFlight: 64, drawLatencyMs: () => 30_000 }],
  },
];

/** The small one comes when the large one has all the consumers that it gets. */
const BESIDE: Omit<Scenario, "name" | "title"> = {
  ...COMMON,
  workload: oneBatch(20_000),
  orders: [
    { id: "batch_large", tenant: "a", upstream: "slow", lines: 20_000, createdAfterMs: 1 },
    { id: "batch_small", tenant: "b", upstream: "idle", lines: 10, createdAfterMs: 300_000 },
  ],
  upstreams: [
    { ...AMPLE, name: "slow", maxInFlight: 2000, drawLatencyMs: () => 30_000 },
    { ...AMPLE, name: "idle", maxInFlight: 64, drawLatencyMs: () => 1000 },
  ],
};

/** Large batches that come together, on an upstream that takes 5,000 at once, and ten lines on another that come later. */
const LARGE_BATCHES: Omit<Scenario, "name" | "title"> = {
  ...COMMON,
  orders: [
    ...Array.from({ length: 16 }, (_, index) => ({
      id: `batch_${index}`,
      tenant: `tenant-${index}`,
      upstream: "large",
      lines: 15_000,
      createdAfterMs: 1 + index,
    })),
    { id: "batch_small", tenant: "b", upstream: "idle", lines: 10, createdAfterMs: 120_000 },
  ],
  upstreams: [
    { ...AMPLE, name: "large", maxInFlight: 5000 },
    { ...AMPLE, name: "idle", maxInFlight: 64, drawLatencyMs: () => 1000 },
  ],
};

export const SCENARIOS: readonly Scenario[] = [
  {
    ...COMMON,
    name: "ample",
    isDrawn: true,
    title: "An upstream that takes everything, max_in_flight 1,250",
    upstreams: [AMPLE],
    isDrawnBySize: true,
  },
  {
    ...COMMON,
    name: "in-flight",
    isDrawn: true,
    title: "An upstream that takes 400 at once, max_in_flight 400",
    upstreams: [{ ...AMPLE, name: "in-flight", maxInFlight: CAPACITY, capacity: CAPACITY }],
    slots: CAPACITY,
  },
  {
    ...COMMON,
    name: "too-high",
    isDrawn: true,
    title: "An upstream that takes 400 at once, max_in_flight 1,250",
    upstreams: [{ ...AMPLE, name: "too-high", capacity: CAPACITY }],
    slots: CAPACITY,
  },
  {
    ...COMMON,
    name: "rate",
    isDrawn: true,
    title: "An upstream that takes 80 requests a second and asks for 5 s of patience, max_in_flight 1,250",
    upstreams: [{ ...AMPLE, name: "rate", capacityPerSecond: 80, retryAfterSeconds: 5 }],
    slots: Math.round(80 * MEAN_LATENCY_SECONDS),
  },
  {
    ...COMMON,
    name: "slow-scaling",
    isDrawn: true,
    title: "As the first, with consumers that come one for each that ends",
    upstreams: [{ ...AMPLE, name: "slow-scaling" }],
    scaling: "by_completions",
  },
  { ...ONE_BATCH, name: "one-batch", title: "One batch of 5,000 lines alone, max_in_flight 64", isDrawn: true },
  {
    ...BESIDE,
    name: "beside-a-slow-one",
    title: "Ten lines of 1 s, five minutes after 20,000 lines of 30 s on another upstream, max_in_flight 2,000",
  },
  {
    ...BESIDE,
    name: "beside-a-slow-one-slow-scaling",
    title: "The same, consumers come one for each that ends",
    scaling: "by_completions",
  },
  {
    ...COMMON,
    name: "ample-four-queues",
    title: "As the first, max_in_flight 5,000, four queues",
    upstreams: [{ ...AMPLE, name: "ample-four-queues", maxInFlight: 5000 }],
    queues: 4,
    slots: 4 * EDGE_SLOTS,
  },
  { ...LARGE_BATCHES, name: "one-queue", title: "240,000 lines, max_in_flight 5,000, one queue" },
  { ...LARGE_BATCHES, name: "four-queues", title: "The same, four queues", queues: 4, slots: 4 * EDGE_SLOTS },
  {
    ...LARGE_BATCHES,
    name: "four-queues-slow-scaling",
    title: "The same, four queues, consumers come one for each that ends",
    queues: 4,
    slots: 4 * EDGE_SLOTS,
    scaling: "by_completions",
  },
  ...ALONE.flatMap((scenario): Scenario[] => [
    { ...ONE_BATCH, ...scenario },
    {
      ...ONE_BATCH,
      ...scenario,
      name: `${scenario.name}-slow-scaling`,
      title: `${scenario.title}, consumers come one for each that ends`,
      scaling: "by_completions",
    },
  ]),
];

function oneBatch(lines: number): Scenario["workload"] {
  return { batches: 1, tenants: 1, arrivalMs: 1, lines: { median: lines, sigma: 0, most: lines } };
}
