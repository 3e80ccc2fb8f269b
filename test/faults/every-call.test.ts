/**
 * One small batch, again and again: each time another call of a binding fails, or loses its answer, or is the last
 * thing its caller does; then each site fails five times, for a minute, and for longer than the batch's window.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import type { Fault } from "./injector.ts";
import { checkOutcome, clearStores } from "./run-checks.ts";
import { type FaultRule, quietScenario } from "./scenario.ts";

const MINUTE_MS = 60_000;
/** Longer than the batch's window and what is granted to lines in flight behind it. */
const LONG_MS = 15 * MINUTE_MS;
const HEALED_WITHIN_MS = 20 * MINUTE_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
/** Of a whole run in which nothing goes on but tries: about two every three seconds. */
const MAX_CALLS = 600;

/** What a run without faults calls, as `side site`, in order. */
const calls: string[] = [];

beforeAll(async () => {
  const { run } = await playRun([], 0);
  calls.push(...run.injector.calls.map(({ side, site }) => `${side} ${site}`));
});

async function playRun(faults: readonly FaultRule[], quietAfterMs: number) {
  const scenario = { ...quietScenario(), faults, quietAfterMs };
  const run = new FaultRun(scenario);
  const client = new Client(run);
  await run.play(
    () => client.run(),
    () => run.startedAt + quietAfterMs + HEALED_WITHIN_MS,
  );
  const broken = await checkOutcome(run, client);
  await clearStores();
  return { run, broken };
}

/** @returns what broke, beside the rule that broke it. */
async function playEach(rules: readonly FaultRule[], quietAfterMs: number) {
  const failures: string[] = [];
  for (const rule of rules) {
    const { run, broken } = await playRun([rule], quietAfterMs);
    const found =
      run.injector.calls.length > MAX_CALLS ? [...broken, `too many calls: ${run.injector.calls.length}`] : broken;
    if (found.length > 0) failures.push(`${JSON.stringify(rule)}: ${found.join("; ")}`);
  }
  return failures;
}

describe("a batch survives that", () => {
  test("nothing fails", async () => {
    expect((await playRun([], 0)).broken).toEqual([]);
    expect(sites().length).toBeGreaterThan(15);
  });

  test.each<Fault>(["before", "after", "crash"])(
    "any one call fails: %s",
    async (fault) => {
      const seen = new Map<string, number>();
      const rules: FaultRule[] = [];
      for (const where of calls) {
        const from = (seen.get(where) ?? 0) + 1;
        seen.set(where, from);
        rules.push({ where, fault, when: { kind: "calls", from, count: 1 } });
      }
      expect(await playEach(rules, 0)).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "any site fails five times in a row",
    async () => {
      const when = { kind: "calls", from: 1, count: 5 } as const;
      expect(
        await playEach(
          sites().map((where) => ({ where, fault: "before", when })),
          0,
        ),
      ).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "any site loses its answers for a minute",
    async () => {
      expect(await playEach(failingFor(MINUTE_MS, "after"), MINUTE_MS)).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "any site fails until long after the window",
    async () => {
      expect(await playEach(failingFor(LONG_MS, "before"), LONG_MS)).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );
});

function sites(): readonly string[] {
  return [...new Set(calls)];
}

function failingFor(untilMs: number, fault: Fault): readonly FaultRule[] {
  return sites().map((where) => ({ where, fault, when: { kind: "period", fromMs: 0, untilMs, probability: 1 } }));
}
