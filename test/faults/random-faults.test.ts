/**
 * Whole batches while stores, queue and coordinator fail at random moments and in random ways. A run that breaks
 * a rule is named by its seed: `FAULT_SEED=<seed> npx vitest run test/faults/random-faults.test.ts` plays it
 * again. `FAULT_SCHEDULES=2000` plays more of them (40 unless told; 200 in `npm run test:long`); both together begin
 * at that seed. `--reporter=verbose` shows what was injected.
 */
import { afterEach, describe, expect, inject, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { clearStores, checkOutcome } from "./run-checks.ts";
import { isRefusedByR2, makeScenario } from "./scenario.ts";

const MINUTE_MS = 60_000;
/** After the last fault. */
const HEALED_WITHIN_MS = 5 * MINUTE_MS;
/** A start that was cut off is found by the sweep, after ten minutes. */
const FOUND_WITHIN_MS = 20 * MINUTE_MS;
const RUNS_PER_TEST = 20;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;

const { firstSeed, schedules } = inject("faults");

afterEach(clearStores);

/** What was injected until now, over all runs. */
const injected = {
  runs: 0,
  faults: 0,
  queueFaults: 0,
  evictions: 0,
  consumerDeaths: 0,
  deathsByLines: 0,
  r2Outages: 0,
  refusedByR2: 0,
};

async function playRun(seed: number): Promise<readonly string[]> {
  const scenario = makeScenario(seed);
  const run = new FaultRun(scenario);
  const client = new Client(run);
  const limitAt = () => {
    const isSingle = client.batch !== null && run.batchIds.size === 1;
    const { lastFaultAt } = run.injector;
    const quietAt = Math.max(run.startedAt + scenario.quietAfterMs, lastFaultAt, run.rules.holders.lastKillAt);
    return quietAt + (isSingle ? HEALED_WITHIN_MS : FOUND_WITHIN_MS);
  };
  const broken: string[] = [];
  try {
    await run.play(() => client.run(), limitAt);
    broken.push(...(await checkOutcome(run, client)));
  } catch (error) {
    broken.push(String(error));
  }
  await clearStores();
  count(run);
  return broken.length === 0 ? [] : [`FAULT_SEED=${seed}: ${broken.join("; ")}`];
}

function count({ scenario, startedAt, rules, injector, queue, evictions, consumerDeaths }: FaultRun): void {
  injected.runs += 1;
  injected.faults += injector.faults;
  injected.queueFaults += queue.faultCount;
  injected.evictions += evictions;
  injected.consumerDeaths += consumerDeaths;
  injected.deathsByLines += rules.holders.kills;
  const refused = injector.calls.filter((call) => isRefusedByR2(scenario, call, startedAt)).length;
  injected.refusedByR2 += refused;
  if (refused > 0) injected.r2Outages += 1;
}

describe("a batch comes to its end, with every line settled once, through the faults of", () => {
  const first = Array.from(
    { length: Math.ceil(schedules / RUNS_PER_TEST) },
    (_, index) => firstSeed + index * RUNS_PER_TEST,
  );
  test.for(first)(`run %i and following`, { timeout: TEST_TIMEOUT_MS }, async (from, { annotate }) => {
    const broken: string[] = [];
    const runs = Math.min(RUNS_PER_TEST, firstSeed + schedules - from);
    for (let run = 0; run < runs; run += 1) broken.push(...(await playRun(from + run)));
    await annotate(`injected so far: ${JSON.stringify(injected)}`);
    expect(broken).toEqual([]);
  });
});
