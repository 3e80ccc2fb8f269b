/**
 * What Nightshift itself costs: the upstream answers at once. Compared with what a user would do instead of a batch: a
 * script that reads the same file and calls the upstream itself, with the official SDK or with plain `fetch`, with the
 * same number of requests at a time.
 */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { makeInput } from "../rig/input.ts";
import { type BenchOptions, type Report, type Table } from "../rig/report.ts";
import { DEFAULT_MAX_IN_FLIGHT, type Rig, runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { median } from "../rig/statistics.ts";

const LINES = 5000;
const LINE_BYTES = 600;
const VARIANTS = ["Nightshift", "script with the openai SDK", "script with plain fetch"] as const;

type Variant = (typeof VARIANTS)[number];

interface Round {
  readonly variant: Variant;
  readonly linesPerSecond: number;
  /** Of the process that does the work: workerd, or the script; without the upstream. */
  readonly cpuMsPerLine: number | null;
}

const execute = promisify(execFile);

export function measureOverhead({ rounds, signal, say }: BenchOptions): Promise<Report> {
  return withRig({ signal }, async (rig) => {
    const shape = { lines: LINES, lineBytes: LINE_BYTES };
    const inputPath = path.join(rig.folder, "input.jsonl");
    writeFileSync(inputPath, Buffer.concat([...makeInput(shape)]));
    const input = { path: inputPath, fileId: await uploadInput(rig, shape) };
    await rig.upstream.configure({});
    await runNightshift(rig, input.fileId);
    const values: Round[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      for (const variant of VARIANTS) {
        const value = await runVariant(rig, variant, input);
        say(`round ${round}, ${variant}: ${Math.round(value.linesPerSecond)} lines/s`);
        values.push(value);
      }
    }
    return { tables: [toTable(values)], values };
  });
}

async function runVariant(
  rig: Rig,
  variant: Variant,
  input: { readonly path: string; readonly fileId: string },
): Promise<Round> {
  if (variant === "Nightshift") return { variant, ...(await runNightshift(rig, input.fileId)) };
  const client = variant === "script with the openai SDK" ? "sdk" : "fetch";
  const script = path.join(import.meta.dirname, "direct-script.ts");
  const { stdout } = await execute(process.execPath, [
    script,
    client,
    rig.upstream.baseUrl,
    input.path,
    path.join(rig.folder, "output.jsonl"),
    String(DEFAULT_MAX_IN_FLIGHT),
  ]);
  const { ms, cpuMs } = JSON.parse(stdout) as { readonly ms: number; readonly cpuMs: number };
  return { variant, linesPerSecond: (LINES * 1000) / ms, cpuMsPerLine: cpuMs / LINES };
}

async function runNightshift(rig: Rig, inputFileId: string): Promise<Omit<Round, "variant">> {
  const cpuBefore = rig.processes.cpuMs();
  const { ms } = await runBatch(rig, inputFileId);
  const cpuAfter = rig.processes.cpuMs();
  return {
    linesPerSecond: (LINES * 1000) / ms,
    cpuMsPerLine: cpuBefore === null || cpuAfter === null ? null : (cpuAfter - cpuBefore) / LINES,
  };
}

function toTable(values: readonly Round[]): Table {
  const of = (variant: Variant) => values.filter((value) => value.variant === variant);
  const rateOf = (variant: Variant) => median(of(variant).map(({ linesPerSecond }) => linesPerSecond));
  const sdkRate = rateOf("script with the openai SDK");
  return {
    title: `${LINES} lines, an upstream that answers at once, ${DEFAULT_MAX_IN_FLIGHT} in flight: medians`,
    head: ["", "lines/s", "of the SDK's", "CPU ms a line"],
    rows: VARIANTS.map((variant) => {
      const cpu = of(variant).flatMap(({ cpuMsPerLine }) => cpuMsPerLine ?? []);
      const rate = rateOf(variant);
      return [variant, rate, `${(rate / sdkRate).toFixed(2)} ×`, cpu.length === 0 ? "unknown" : median(cpu)];
    }),
  };
}
