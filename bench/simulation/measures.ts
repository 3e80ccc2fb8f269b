/** What a simulation says about throughput and fairness. Pure. */
import type { BatchOutcome, SimulationResult } from "./simulate.ts";

export interface SizeClass {
  readonly name: string;
  readonly batches: number;
  readonly meanSeconds: number;
  readonly slowestSeconds: number;
  /** Time over the least that the batch needs when it has all slots for itself. */
  readonly meanSlowdown: number;
  readonly slowestSlowdown: number;
  /** Jain's index of the slowdowns: 1 when all are the same, 1/n when one has it all. */
  readonly jain: number;
}

export interface Verdict {
  readonly makespanSeconds: number;
  /** Time of all good answers, over the slots. Nothing can be faster. */
  readonly boundSeconds: number;
  /** Tries that the upstream refused, of all tries. */
  readonly wastedShare: number;
  /** Deliveries whose dispatch had already been given up, of all messages. */
  readonly staleShare: number;
  /** The most at once, and the median while any is. */
  readonly mostInFlight: number;
  readonly usualInFlight: number;
  readonly meanQueueDepth: number;
  readonly mostQueueDepth: number;
  readonly classes: readonly SizeClass[];
}

const SIZES = [
  { name: "1 to 10 lines", least: 1, most: 10 },
  { name: "11 to 100", least: 11, most: 100 },
  { name: "101 to 1,000", least: 101, most: 1000 },
  { name: "over 1,000", least: 1001, most: Number.POSITIVE_INFINITY },
] as const;

export function judge(result: SimulationResult, slots: number): Verdict {
  const counts = [...result.upstreams.values()];
  const requests = sum(counts.map((count) => count.requests));
  const busySeconds = sum(counts.map((count) => count.busyMs)) / 1000;
  const meanLatencySeconds = busySeconds / result.lines;
  const inFlight = result.samples.map((sample) => sample.inFlight).filter((lines) => lines > 0);
  const depths = result.samples.map(({ queueDepth }) => queueDepth);
  return {
    makespanSeconds: result.makespanSeconds,
    boundSeconds: busySeconds / slots,
    wastedShare: sum(counts.map((count) => count.refused)) / requests,
    staleShare: result.staleDeliveries / result.messages,
    mostInFlight: Math.max(0, ...inFlight),
    usualInFlight: inFlight.toSorted((a, b) => a - b)[Math.floor(inFlight.length / 2)] ?? 0,
    meanQueueDepth: sum(depths) / Math.max(1, depths.length),
    mostQueueDepth: Math.max(0, ...depths),
    classes: SIZES.map(({ name, least, most }) => {
      const outcomes = result.outcomes.filter(({ order }) => order.lines >= least && order.lines <= most);
      return judgeClass(name, outcomes, { meanLatencySeconds, slots });
    }),
  };
}

function jainIndex(values: readonly number[]): number {
  const squares = sum(values.map((value) => value ** 2));
  return squares === 0 ? 1 : sum(values) ** 2 / (values.length * squares);
}

function judgeClass(
  name: string,
  outcomes: readonly BatchOutcome[],
  { meanLatencySeconds, slots }: { readonly meanLatencySeconds: number; readonly slots: number },
): SizeClass {
  const seconds = outcomes.map((outcome) => outcome.seconds);
  const slowdowns = outcomes.map((outcome) => {
    return outcome.seconds / (meanLatencySeconds * Math.max(1, outcome.order.lines / slots));
  });
  return {
    name,
    batches: outcomes.length,
    meanSeconds: sum(seconds) / Math.max(1, seconds.length),
    slowestSeconds: Math.max(0, ...seconds),
    meanSlowdown: sum(slowdowns) / Math.max(1, slowdowns.length),
    slowestSlowdown: Math.max(0, ...slowdowns),
    jain: jainIndex(slowdowns),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
