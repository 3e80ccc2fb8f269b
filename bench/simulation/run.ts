/**
 * `npm run bench:simulation`: simulates every scenario, or those named, prints what came of them and draws the
 * plots of docs/simulation.md.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { installWorkerModules } from "../edge/worker-modules.ts";
import { formatTable } from "../table.ts";
import { judge, type Verdict } from "./measures.ts";
import { plotSizes, plotTimeline } from "./plots.ts";
import { SCENARIOS } from "./scenarios.ts";
import type { SimulationResult } from "./simulate.ts";

const PLOTS = path.resolve(import.meta.dirname, "../../docs/simulation");

installWorkerModules();
const { simulate } = await import("./simulate.ts");

const wanted = process.argv.slice(2);
for (const scenario of SCENARIOS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  const result = await simulate(scenario);
  const verdict = judge(result, scenario.slots);
  console.log(`\n## ${scenario.title} (${scenario.name})\n`);
  console.log(describe(verdict, result));
  console.log(`\n${sizeTable(verdict)}`);
  if (scenario.isDrawn === true) {
    writeFileSync(path.join(PLOTS, `${scenario.name}.svg`), plotTimeline(result, scenario.slots, scenario.title));
  }
  if (scenario.isDrawnBySize === true) {
    writeFileSync(path.join(PLOTS, `${scenario.name}-sizes.svg`), plotSizes(result, scenario.title));
  }
}

function describe(verdict: Verdict, { lines, outcomes }: SimulationResult): string {
  const { makespanSeconds, boundSeconds, wastedShare, staleShare, usualInFlight, mostInFlight } = verdict;
  const { meanQueueDepth, mostQueueDepth } = verdict;
  return formatTable(
    [
      "batches",
      "lines",
      "makespan, s",
      "bound, s",
      "bound / makespan",
      "refused tries",
      "stale messages",
      "in flight",
      "queue depth",
    ],
    [
      [
        String(outcomes.length),
        String(lines),
        makespanSeconds.toFixed(0),
        boundSeconds.toFixed(0),
        percent(boundSeconds / makespanSeconds),
        percent(wastedShare),
        percent(staleShare),
        `${usualInFlight}, at most ${mostInFlight}`,
        `${meanQueueDepth.toFixed(0)}, at most ${mostQueueDepth}`,
      ],
    ],
  );
}

function sizeTable({ classes }: Verdict): string {
  const rows = classes
    .filter(({ batches }) => batches > 0)
    .map((one) => [
      one.name,
      String(one.batches),
      one.meanSeconds.toFixed(0),
      one.slowestSeconds.toFixed(0),
      one.meanSlowdown.toFixed(1),
      one.slowestSlowdown.toFixed(1),
      one.jain.toFixed(2),
    ]);
  return formatTable(["size", "batches", "mean, s", "slowest, s", "mean slowdown", "slowest", "Jain"], rows);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
