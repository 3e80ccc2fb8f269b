/**
 * Whether the time and CPU of a line grow with the size of its batch (1,000 to 80,000 lines), or with the number of
 * batches at once (1 to 50).
 */
import { type IsolateWatch, watchIsolate } from "../rig/isolate-memory.ts";
import { type BenchOptions, type Report, type Table, toMebibytes } from "../rig/report.ts";
import { createBatch, requireWhole, type Rig, runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { mean, median } from "../rig/statistics.ts";

const SIZES = [1000, 5000, 20_000, 50_000, 80_000];
const BATCHES_AT_ONCE = [1, 10, 50];
/** Of all batches at once together. */
const CONCURRENT_LINES = 50_000;
const LINE_BYTES = 400;
const CONCURRENT_LATENCY_MS = 50;

interface SizeRun {
  readonly lines: number;
  readonly msPerLine: number;
  readonly cpuMsPerLine: number | null;
  readonly exchangesPerThousandLines: number;
  /** Of the Worker's isolate. */
  readonly isolatePeakBytes: number | null;
  /** Of the whole runtime, its simulators included, beyond what it had before. */
  readonly runtimeGrowthBytes: number | null;
}

interface ConcurrentRun {
  readonly batches: number;
  readonly linesPerSecond: number;
  readonly slowestOverMean: number;
  readonly exchangesPerThousandLines: number;
}

export function measureScale({ rounds, signal, say }: BenchOptions): Promise<Report> {
  const variables = { MAX_LINES_PER_BATCH: String(Math.max(...SIZES)) };
  return withRig({ signal, variables }, async (rig) => {
    const sizes: SizeRun[] = [];
    const concurrent: ConcurrentRun[] = [];
    const isolate = await watchIsolate(rig.inspectorPort);
    await runSize(rig, isolate, 1000);
    for (let round = 1; round <= rounds; round += 1) {
      for (const lines of SIZES) {
        const run = await runSize(rig, isolate, lines);
        sizes.push(run);
        const cpu = run.cpuMsPerLine?.toFixed(2) ?? "unknown";
        say(`round ${round}, ${lines} lines: ${run.msPerLine.toFixed(2)} ms a line, CPU ${cpu} ms`);
      }
      for (const batches of BATCHES_AT_ONCE) {
        const run = await runConcurrent(rig, batches);
        concurrent.push(run);
        say(`round ${round}, ${batches} batches: ${Math.round(run.linesPerSecond)} lines/s`);
      }
    }
    isolate.stop();
    return { tables: [toSizeTable(sizes), toConcurrentTable(concurrent)], values: { sizes, concurrent } };
  });
}

async function runSize(rig: Rig, isolate: IsolateWatch, lines: number): Promise<SizeRun> {
  await rig.upstream.configure({});
  const fileId = await uploadInput(rig, { lines, lineBytes: LINE_BYTES });
  const before = rig.processes.bytes();
  rig.processes.takePeakBytes();
  isolate.takePeakBytes();
  const cpuBefore = rig.processes.cpuMs();
  const { batch, ms } = await runBatch(rig, fileId);
  const cpuAfter = rig.processes.cpuMs();
  const peak = rig.processes.takePeakBytes();
  return {
    lines,
    msPerLine: ms / lines,
    cpuMsPerLine: cpuBefore === null || cpuAfter === null ? null : (cpuAfter - cpuBefore) / lines,
    exchangesPerThousandLines: (rig.log.sumOfDispatches(batch.id, "exchanges") * 1000) / lines,
    isolatePeakBytes: isolate.takePeakBytes(),
    runtimeGrowthBytes: before === null || peak === null ? null : peak - before,
  };
}

async function runConcurrent(rig: Rig, batches: number): Promise<ConcurrentRun> {
  await rig.upstream.configure({ latencyMs: CONCURRENT_LATENCY_MS });
  const fileId = await uploadInput(rig, { lines: CONCURRENT_LINES / batches, lineBytes: LINE_BYTES });
  const startedAt = performance.now();
  const ended = await Promise.all(
    Array.from({ length: batches }, async () => {
      const { id } = await createBatch(rig.client, fileId);
      const { at } = await rig.log.untilFinal(id);
      await requireWhole(rig.client, id);
      return { id, seconds: (at - startedAt) / 1000 };
    }),
  );
  const slowest = Math.max(...ended.map(({ seconds }) => seconds));
  const exchanges = ended.reduce((sum, { id }) => sum + rig.log.sumOfDispatches(id, "exchanges"), 0);
  return {
    batches,
    linesPerSecond: CONCURRENT_LINES / slowest,
    slowestOverMean: slowest / mean(ended.map(({ seconds }) => seconds)),
    exchangesPerThousandLines: (exchanges * 1000) / CONCURRENT_LINES,
  };
}

function toSizeTable(runs: readonly SizeRun[]): Table {
  return {
    title: "One batch, an upstream that answers at once, 64 in flight: medians",
    head: [
      "lines",
      "lines/s",
      "ms a line",
      "CPU ms a line",
      "exchanges per 1,000 lines",
      "the Worker's memory, MiB",
      "growth of all of workerd, MiB",
    ],
    rows: SIZES.map((lines) => {
      const ofSize = runs.filter((run) => run.lines === lines);
      const msPerLine = median(ofSize.map((run) => run.msPerLine));
      const cpu = ofSize.flatMap((run) => run.cpuMsPerLine ?? []);
      const memory = [
        ofSize.flatMap((run) => run.isolatePeakBytes ?? []),
        ofSize.flatMap((run) => run.runtimeGrowthBytes ?? []),
      ];
      return [
        lines.toLocaleString("en-US"),
        1000 / msPerLine,
        msPerLine,
        cpu.length === 0 ? "unknown" : median(cpu),
        median(ofSize.map((run) => run.exchangesPerThousandLines)),
        ...memory.map((bytes) => toMebibytes(bytes.length === 0 ? null : median(bytes))),
      ];
    }),
  };
}

function toConcurrentTable(runs: readonly ConcurrentRun[]): Table {
  return {
    title: `${CONCURRENT_LINES.toLocaleString("en-US")} lines in all, ${CONCURRENT_LATENCY_MS} ms, 64 in flight for all batches together: medians`,
    head: ["batches at once", "lines/s, all together", "slowest / mean time", "exchanges per 1,000 lines"],
    rows: BATCHES_AT_ONCE.map((batches) => {
      const sameCount = runs.filter((run) => run.batches === batches);
      return [
        `${batches}`,
        median(sameCount.map((run) => run.linesPerSecond)),
        median(sameCount.map((run) => run.slowestOverMean)),
        median(sameCount.map((run) => run.exchangesPerThousandLines)),
      ];
    }),
  };
}
