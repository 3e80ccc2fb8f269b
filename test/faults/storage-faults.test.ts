/**
 * Whole batches while stores, queue and coordinator fail at random moments and in random ways. A night that breaks
 * a rule is named by its seed: `FAULT_SEED=<seed> npx vitest run test/faults/storage-faults.test.ts` plays it
 * again. `FAULT_SCHEDULES=2000` plays more of them; both together begin at that seed. `--reporter=verbose` shows what
 * was injected.
 */
import { afterEach, describe, expect, inject, test } from "vitest";
import { Client } from "./client.ts";
import { clearStores, checkMorning } from "./night-checks.ts";
import { Night } from "./night.ts";
import { makeScenario } from "./scenario.ts";

const MINUTE_MS = 60_000;
/** After the last fault. */
const HEALED_WITHIN_MS = 5 * MINUTE_MS;
/** A start that was cut off is found by the sweep, after ten minutes. */
const FOUND_WITHIN_MS = 20 * MINUTE_MS;
const NIGHTS_PER_TEST = 20;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;

const { firstSeed, schedules } = inject("faults");

afterEach(clearStores);

/** What was injected so far, over all nights. */
const injected = { nights: 0, faults: 0, mishaps: 0, evictions: 0, consumerDeaths: 0 };

async function playNight(seed: number): Promise<readonly string[]> {
  const scenario = makeScenario(seed);
  const night = new Night(scenario);
  const client = new Client(night);
  const limitAt = () => {
    const isSingle = client.batch !== null && night.batchIds.size === 1;
    const quietAt = Math.max(night.startedAt + scenario.quietAfterMs, night.injector.lastFaultAt);
    return quietAt + (isSingle ? HEALED_WITHIN_MS : FOUND_WITHIN_MS);
  };
  const broken: string[] = [];
  try {
    await night.play(() => client.live(), limitAt);
    broken.push(...(await checkMorning(night, client)));
  } catch (error) {
    broken.push(String(error));
  }
  await clearStores();
  count(night);
  return broken.length === 0 ? [] : [`FAULT_SEED=${seed}: ${broken.join("; ")}`];
}

function count({ injector, queue, evictions, consumerDeaths }: Night): void {
  injected.nights += 1;
  injected.faults += injector.faults;
  injected.mishaps += queue.mishapCount;
  injected.evictions += evictions;
  injected.consumerDeaths += consumerDeaths;
}

describe("a batch comes to its end, with every line settled once, through the faults of", () => {
  const first = Array.from(
    { length: Math.ceil(schedules / NIGHTS_PER_TEST) },
    (_, index) => firstSeed + index * NIGHTS_PER_TEST,
  );
  test.for(first)(`night %i and following`, { timeout: TEST_TIMEOUT_MS }, async (from, { annotate }) => {
    const broken: string[] = [];
    const nights = Math.min(NIGHTS_PER_TEST, firstSeed + schedules - from);
    for (let night = 0; night < nights; night += 1) broken.push(...(await playNight(from + night)));
    await annotate(`injected so far: ${JSON.stringify(injected)}`);
    expect(broken).toEqual([]);
  });
});
