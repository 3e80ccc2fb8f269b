/**
 * At no moment more lines are in flight than `max_in_flight`, all batches together: they come and go beside each other, some
 * are cancelled, and coordinators and the pacer leave memory at random moments. Whole batches on a virtual clock.
 */
import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../support/random.ts";
import type { ClientPlan } from "./client.ts";
import { clearStores } from "./run-checks.ts";
import { playSeveral } from "./several-batches.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const MAX_IN_FLIGHT = 8;
/** Batches are created this far apart. */
const APART_MS = 600;

afterEach(clearStores);

function makePlans(random: Random): readonly ClientPlan[] {
  return Array.from({ length: random.between(3, 5) }, (_, batch) => ({
    lines: random.between(10, 60),
    beginsAfterMs: batch * APART_MS + (random.chance(0.3) ? random.between(5, 20) * SECOND_MS : 0),
    cancelAfterMs: random.chance(0.3) ? random.between(2, 20) * SECOND_MS : null,
  }));
}

async function play(seed: number, { evictions, consumerDeaths }: { evictions: number; consumerDeaths: number }) {
  const random = Random.of(seed, 21);
  const slowestMs = random.pick([400, 1500, 4000]);
  const { broken, arrivals } = await playSeveral({
    scenario: {
      seed,
      maxInFlight: MAX_IN_FLIGHT,
      linesPerInvocation: random.pick([2, 5, 64]),
      evictions,
      consumerDeaths,
      quietAfterMs: MINUTE_MS,
      answerOf: (line, call) => ({ status: 200, delayMs: Random.of(seed, 22, line, call).between(50, slowestMs) }),
    },
    plans: makePlans(random),
    limitMs: 20 * MINUTE_MS,
  });
  return { broken, most: Math.max(...arrivals.map(({ lines }) => lines)), arrivals };
}

describe("no more than max_in_flight", () => {
  test.each([1, 2, 3])(
    "when nothing fails: run %i",
    async (seed) => {
      const { broken, most } = await play(seed, { evictions: 0, consumerDeaths: 0 });
      expect(broken).toEqual([]);
      expect(most).toBe(MAX_IN_FLIGHT);
    },
    TEST_TIMEOUT_MS,
  );

  test.each([11, 12, 13, 14, 15, 16])(
    "when objects leave memory: run %i",
    async (seed) => {
      const { broken, most } = await play(seed, { evictions: 0.2, consumerDeaths: 0 });
      expect(broken).toEqual([]);
      expect(most).toBeLessThanOrEqual(MAX_IN_FLIGHT);
    },
    TEST_TIMEOUT_MS,
  );

  // A consumer's lease outlasts what it may have sent here: its lines are given to others when their time is over.
  test.each([21, 22, 23])(
    "when consumers die: run %i",
    async (seed) => {
      const { broken, most } = await play(seed, { evictions: 0, consumerDeaths: 0.1 });
      expect(broken).toEqual([]);
      expect(most).toBeLessThanOrEqual(MAX_IN_FLIGHT);
    },
    TEST_TIMEOUT_MS,
  );
});
