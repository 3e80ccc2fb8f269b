/** Throughput against the ideal: an upstream with 64 slots of 100 ms each can answer 640 lines a second, and no more. */
import { type BenchOptions, formatPercent, type Report, type Table } from "../rig/report.ts";
import { type Rig, runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { median } from "../rig/statistics.ts";
import { meanInFlight, mostInFlight, shareAtLeast } from "../rig/mock-upstream-control.ts";

const LINES = 5000;
const LINE_BYTES = 600;
const SLOTS = 64;
const LATENCY_MS = 100;

/**
 * `max_in_flight` equal to the upstream's slots, and 1.5 times that: some requests then wait at the upstream for a slot.
 * The tail is log-normal: its mean is exp(sigma² / 2) of the median.
 */
const VARIANTS = [
  { name: "fixed 100 ms, max_in_flight 64", maxInFlight: 64, tailSigma: 0, errorShare: 0 },
  { name: "fixed 100 ms, max_in_flight 96", maxInFlight: 96, tailSigma: 0, errorShare: 0 },
  { name: "median 100 ms, long tail, max_in_flight 96", maxInFlight: 96, tailSigma: 0.5, errorShare: 0 },
  {
    name: "fixed 100 ms, one answer in fifty a 500, max_in_flight 96",
    maxInFlight: 96,
    tailSigma: 0,
    errorShare: 0.02,
  },
] as const;

type Variant = (typeof VARIANTS)[number];

interface Round {
  readonly variant: Variant;
  readonly linesPerSecond: number;
  readonly shareOfIdeal: number;
  /** From the first request to the last answer, as the upstream saw it. */
  readonly shareOfIdealAtUpstream: number;
  readonly meanInFlight: number;
  readonly mostInFlight: number;
  /** The part of that time with at least as many requests in flight as there are slots. */
  readonly shareFull: number;
  /** The same, with up to one slot in sixteen empty. */
  readonly shareNearlyFull: number;
}

export function measureThroughput({ rounds, signal, say }: BenchOptions): Promise<Report> {
  return withRig({ signal }, async (rig) => {
    const inputFileId = await uploadInput(rig, { lines: LINES, lineBytes: LINE_BYTES });
    await runRound(rig, VARIANTS[0], inputFileId);
    const values: Round[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      for (const variant of VARIANTS) {
        const value = await runRound(rig, variant, inputFileId);
        say(`round ${round}, ${variant.name}: ${Math.round(value.linesPerSecond)} lines/s`);
        values.push(value);
      }
    }
    return { tables: [toTable(values)], values };
  });
}

async function runRound(rig: Rig, variant: Variant, inputFileId: string): Promise<Round> {
  await rig.upstream.configure({
    latencyMs: LATENCY_MS,
    slots: SLOTS,
    tailSigma: variant.tailSigma,
    errorShare: variant.errorShare,
  });
  const { ms } = await runBatch(rig, inputFileId, variant.maxInFlight);
  const statistics = await rig.upstream.report();
  const linesPerSecond = (LINES * 1000) / ms;
  const answersPerSecond = (SLOTS * 1000) / (LATENCY_MS * Math.exp(variant.tailSigma ** 2 / 2));
  const ideal = answersPerSecond * (1 - variant.errorShare);
  return {
    variant,
    linesPerSecond,
    shareOfIdeal: linesPerSecond / ideal,
    shareOfIdealAtUpstream: (LINES * 1000) / statistics.ms / ideal,
    meanInFlight: meanInFlight(statistics),
    mostInFlight: mostInFlight(statistics),
    shareFull: shareAtLeast(statistics, SLOTS),
    shareNearlyFull: shareAtLeast(statistics, SLOTS - SLOTS / 16),
  };
}

function toTable(values: readonly Round[]): Table {
  return {
    title: `${LINES} lines, ${SLOTS} slots of ${LATENCY_MS} ms: medians`,
    head: [
      "upstream",
      "lines/s, create to completed",
      "of the ideal",
      "of the ideal, first request to last answer",
      "in flight, mean",
      "in flight, most",
      `time with ≥ ${SLOTS} in flight`,
      `time with ≥ ${SLOTS - SLOTS / 16} in flight`,
    ],
    rows: VARIANTS.map((variant) => {
      const rounds = values.filter((value) => value.variant === variant);
      const medianOf = (read: (round: Round) => number) => median(rounds.map(read));
      return [
        variant.name,
        medianOf((round) => round.linesPerSecond),
        formatPercent(medianOf((round) => round.shareOfIdeal)),
        formatPercent(medianOf((round) => round.shareOfIdealAtUpstream)),
        medianOf((round) => round.meanInFlight),
        medianOf((round) => round.mostInFlight),
        formatPercent(medianOf((round) => round.shareFull)),
        formatPercent(medianOf((round) => round.shareNearlyFull)),
      ];
    }),
  };
}
