/** `npm run bench:cost`: runs the measurements in workerd and prints their tables. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { formatTable } from "../table.ts";
import { measureCpu } from "./cpu.ts";
import { SIMPLER_DESIGNS } from "./designs.ts";
import type { BatchUse } from "./measure-batch.ts";
import { PRICES_SEEN } from "./prices.ts";
import { ANSWER_KINDS, LATENCY_SPECS, SIZE_SPECS, SMALL_SPECS } from "./specs.ts";
import { priceMillionLines } from "./tally.ts";
import { callTable, countTable, costTable, formatDollars } from "./tables.ts";

const MARK = "COST ";

async function measureBatches(): Promise<readonly BatchUse[]> {
  const config = "bench/cost/vitest.config.ts";
  const child = spawn("vitest", ["run", "--config", config], { stdio: ["ignore", "pipe", "inherit"] });
  const uses: BatchUse[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith(MARK)) uses.push(JSON.parse(line.slice(MARK.length)) as BatchUse);
    else if (line.includes("FAIL") || line.includes("Error:")) console.error(line);
  }
  return uses;
}

function pick(uses: readonly BatchUse[], specs: readonly BatchUse["spec"][]): readonly BatchUse[] {
  return specs.map((spec) => {
    const use = uses.find((one) => JSON.stringify(one.spec) === JSON.stringify(spec));
    if (use === undefined) throw new Error(`there is no measurement of ${JSON.stringify(spec)}`);
    return use;
  });
}

function kindOf({ spec }: BatchUse): string {
  const kind = ANSWER_KINDS.find(({ answerBytes }) => answerBytes === spec.answerBytes);
  return `${spec.lines.toLocaleString("en")} lines, ${kind?.name ?? ""} (${spec.answerBytes / 1024} KB)`;
}

const uses = await measureBatches();
console.log(`\n## Dollars for a million lines, at list prices of ${PRICES_SEEN}, 2 s mean latency\n`);
console.log(costTable(pick(uses, SIZE_SPECS), kindOf));
console.log("\n## Beside simpler designs\n");
const designs = SIMPLER_DESIGNS.map(({ name, tally }) => [name, formatDollars(priceMillionLines(tally, 1).dollars)]);
const own = pick(uses, SIZE_SPECS).find(({ spec }) => spec.lines === 50_000 && spec.answerBytes === 4096);
if (own !== undefined) {
  designs.push(["Nightshift, 50,000 lines, 4 KB", formatDollars(priceMillionLines(own.tally, own.spec.lines).dollars)]);
}
console.log(formatTable(["design", "$"], designs));
console.log("\n## What latency costs (5,000 lines, 4 KB)\n");
console.log(costTable(pick(uses, LATENCY_SPECS), ({ spec }) => `${spec.meanLatencySeconds} s`));
console.log("\n## What it costs to be small (4 KB, 2 s)\n");
console.log(costTable(pick(uses, SMALL_SPECS), ({ spec }) => `${spec.lines} lines`));
console.log("\n## Operations for 1,000 lines\n");
console.log(countTable(pick(uses, SIZE_SPECS), kindOf));
console.log("\n## Calls and alarms of objects, for 1,000 lines\n");
console.log(callTable(pick(uses, SIZE_SPECS), kindOf));
console.log("\n## Processor time a line, measured in Node with the simulated platform\n");
const cpu: string[][] = [];
for (const { name, answerBytes } of ANSWER_KINDS) {
  const { msPerLine } = await measureCpu(answerBytes);
  cpu.push([name, msPerLine.toFixed(2)]);
}
console.log(formatTable(["answers", "ms"], cpu));
