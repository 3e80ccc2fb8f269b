/**
 * `npm run bench`: runs the benchmarks of bench/local, which measure the real local stack against a mock upstream. It
 * prints their tables and writes every value to bench-results/. All benchmarks, or those that are named:
 * `npm run bench -- throughput latency --rounds 5`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { type BenchOptions, renderTable, type Report } from "./rig/report.ts";
import { measureFairness } from "./local/fairness.ts";
import { measureLatency } from "./local/latency.ts";
import { measureMemory } from "./local/memory.ts";
import { measureOverhead } from "./local/overhead.ts";
import { measureReads } from "./local/reads.ts";
import { measureScale } from "./local/scale.ts";
import { measureSize } from "./local/size.ts";
import { measureThroughput } from "./local/throughput.ts";
import { measureValidation } from "./local/validation.ts";

const BENCHMARKS: Readonly<Record<string, (options: BenchOptions) => Promise<Report>>> = {
  throughput: measureThroughput,
  overhead: measureOverhead,
  size: measureSize,
  memory: measureMemory,
  validation: measureValidation,
  scale: measureScale,
  latency: measureLatency,
  fairness: measureFairness,
  reads: measureReads,
};
const DEFAULT_ROUNDS = 3;
const RESULTS_FOLDER = path.resolve("bench-results");

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    process.exitCode = 1;
    interrupted.abort(new Error(`ended by ${signal}`));
  });
}

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: String(DEFAULT_ROUNDS) } },
});
const rounds = Number(flags.rounds);
const names = positionals.length === 0 ? Object.keys(BENCHMARKS) : positionals;
const unknown = names.filter((name) => !(name in BENCHMARKS));
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`Usage: npm run bench -- [${Object.keys(BENCHMARKS).join("] [")}] [--rounds N]`);
  process.exit(2);
}

const machine = `${availableParallelism()} cores (${cpus()[0]?.model ?? "unknown"}), ${Math.round(totalmem() / 1024 ** 3)} GiB, Node ${process.versions.node}`;
console.log(`${new Date().toISOString().slice(0, 10)}, ${machine}\n`);
mkdirSync(RESULTS_FOLDER, { recursive: true });
for (const name of names) {
  // Other work on the machine shows here, and in every figure.
  const loadBefore = loadavg()[0] ?? 0;
  const report = await BENCHMARKS[name]?.({
    rounds,
    signal: interrupted.signal,
    say: (text) => console.error(`  ${name}: ${text}`),
  });
  if (report === undefined) continue;
  console.log(
    `## ${name}\n\nload average before: ${loadBefore.toFixed(1)}\n\n${report.tables.map(renderTable).join("\n")}`,
  );
  const results = { name, date: new Date().toISOString(), machine, loadBefore, rounds, ...report };
  writeFileSync(path.join(RESULTS_FOLDER, `${name}.json`), `${JSON.stringify(results, null, 2)}\n`);
}
