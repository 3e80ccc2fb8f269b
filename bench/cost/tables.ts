/** Prints measurements as Markdown tables. */
import { formatTable } from "../table.ts";
import type { BatchUse } from "./measure-batch.ts";
import type { PricedUnit } from "./prices.ts";
import { PRICED_UNITS, priceMillionLines, scaleTally } from "./tally.ts";

const NAMES: Readonly<Record<PricedUnit, string>> = {
  workerRequests: "Worker requests and queue invocations",
  cpuMs: "CPU, ms (planned: 3 a line)",
  queueOperations: "queue operations",
  objectRequests: "object calls and alarms",
  objectGigabyteSeconds: "object duration, GB-s (estimated)",
  objectRowsRead: "object rows read",
  objectRowsWritten: "object rows written",
  databaseRowsRead: "D1 rows read",
  databaseRowsWritten: "D1 rows written",
  bucketClassA: "R2 class A",
  bucketClassB: "R2 class B",
  logLines: "log lines",
};

type Title = (use: BatchUse) => string;

export function costTable(uses: readonly BatchUse[], title: Title): string {
  const costs = uses.map(({ tally, spec }) => priceMillionLines(tally, spec.lines));
  const rows = PRICED_UNITS.map((unit) => [NAMES[unit], ...costs.map(({ parts }) => formatDollars(parts[unit]))]);
  const sum = ["**together**", ...costs.map(({ dollars }) => `**${formatDollars(dollars)}**`)];
  return formatTable(["", ...uses.map(title)], [...rows, sum]);
}

export function countTable(uses: readonly BatchUse[], title: Title): string {
  const counts = uses.map(({ tally, spec }) => scaleTally(tally, spec, { lines: 1000 }));
  const rows = PRICED_UNITS.map((unit) => [NAMES[unit], ...counts.map((tally) => tally[unit].toFixed(1))]);
  const more = [
    ["dispatches", ...uses.map(({ dispatches, spec }) => ((dispatches * 1000) / spec.lines).toFixed(1))],
    ["minutes a batch", ...uses.map(({ seconds }) => (seconds / 60).toFixed(0))],
  ];
  return formatTable(["", ...uses.map(title)], [...rows, ...more]);
}

/** Calls and alarms of objects, for 1,000 lines. */
export function callTable(uses: readonly BatchUse[], title: Title): string {
  const methods = [...new Set(uses.flatMap(({ objectCalls }) => Object.keys(objectCalls)))].toSorted();
  const rows = methods.map((method) => [
    method,
    ...uses.map(({ objectCalls, spec }) => (((objectCalls[method] ?? 0) * 1000) / spec.lines).toFixed(1)),
  ]);
  return formatTable(["", ...uses.map(title)], rows);
}

export function formatDollars(dollars: number): string {
  return dollars.toFixed(3);
}
