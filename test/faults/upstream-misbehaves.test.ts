/** Whole batches against an upstream that is down, overloaded, slow, or no API at all, on a virtual clock. */
import { afterEach, describe, expect, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome, clearStores } from "./run-checks.ts";
import { quietScenario, type ScriptedAnswer } from "./scenario.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const LIMIT_MS = 3 * 60 * MINUTE_MS;
const MAX_IN_FLIGHT = 16;
const LINES_PER_INVOCATION = 5;
const TEST_TIMEOUT_MS = 2 * MINUTE_MS;
const FINE: ScriptedAnswer = { status: 200, delayMs: 300 };

afterEach(clearStores);

/** Also told how long the run has lasted. */
type AnswerOf = (line: number, call: number, sinceMs: number) => ScriptedAnswer;

async function playRun(lines: number, answerOf: AnswerOf) {
  const run = makeRun(lines, answerOf);
  const client = new Client(run);
  await run.play(
    () => client.run(),
    () => run.startedAt + LIMIT_MS,
  );
  expect(await checkOutcome(run, client)).toEqual([]);
  const lastedMs = (run.injector.calls.at(-1)?.at ?? 0) - run.startedAt;
  return { run, counts: client.batch?.request_counts, lastedMs };
}

function makeRun(lines: number, answerOf: AnswerOf): FaultRun {
  const run: FaultRun = new FaultRun({
    ...quietScenario(),
    lines,
    window: "24h",
    linesPerInvocation: LINES_PER_INVOCATION,
    maxInFlight: MAX_IN_FLIGHT,
    answerOf: (line, call) => answerOf(line, call, Date.now() - run.startedAt),
  });
  return run;
}

describe("an upstream that", () => {
  test(
    "is down for ten minutes costs no line its result, and is hardly asked meanwhile",
    async () => {
      const downMs = 10 * MINUTE_MS;
      const down: ScriptedAnswer = { status: "cut", delayMs: 10 };
      const { run, counts, lastedMs } = await playRun(60, (_line, _call, sinceMs) => (sinceMs < downMs ? down : FINE));
      expect(counts).toEqual({ total: 60, completed: 60, failed: 0 });
      expect(lastedMs).toBeLessThan(downMs + 15 * MINUTE_MS);
      expect(run.upstream.inFlight.filter(({ at }) => at < run.startedAt + downMs).length).toBeLessThan(8 * 60);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "is down holds up no batch on another",
    async () => {
      const run = makeRun(30, (_line, _call, sinceMs) =>
        sinceMs < 5 * MINUTE_MS ? { status: "cut", delayMs: 10 } : FINE,
      );
      const clients = [new Client(run), new Client(run, "fine")];
      const endedAt: number[] = [];
      await run.play(
        async () => {
          await Promise.all(
            clients.map(async (client, index) => {
              await client.run();
              endedAt[index] = Date.now() - run.startedAt;
            }),
          );
        },
        () => run.startedAt + LIMIT_MS,
      );
      expect(clients.map((client) => client.batch?.request_counts)).toEqual(
        clients.map(() => ({ total: 30, completed: 30, failed: 0 })),
      );
      expect(endedAt[0]).toBeGreaterThan(5 * MINUTE_MS);
      expect(endedAt[1]).toBeLessThan(30 * SECOND_MS);
      expect(run.rules.violations).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "answers 429 for two minutes gets fewer lines at once, and then as many as before",
    async () => {
      const busyMs = 2 * MINUTE_MS;
      const busy: ScriptedAnswer = { status: 429, delayMs: 100 };
      const { run, counts } = await playRun(300, (_line, _call, sinceMs) => (sinceMs < busyMs ? busy : FINE));
      expect(counts).toEqual({ total: 300, completed: 300, failed: 0 });
      const mostBetween = (fromMs: number, untilMs: number) => {
        const from = run.startedAt + fromMs;
        const seen = run.upstream.inFlight.filter(({ at }) => at >= from && at < run.startedAt + untilMs);
        return Math.max(0, ...seen.map(({ lines }) => lines));
      };
      expect(mostBetween(0, 5 * SECOND_MS)).toBeGreaterThan(MAX_IN_FLIGHT / 2);
      expect(mostBetween(busyMs / 2, busyMs)).toBeLessThanOrEqual(LINES_PER_INVOCATION);
      expect(mostBetween(busyMs, LIMIT_MS)).toBeGreaterThan(MAX_IN_FLIGHT / 2);
    },
    TEST_TIMEOUT_MS,
  );

  test.each([
    ["an hour", () => "3600", 55 * MINUTE_MS, 70 * MINUTE_MS],
    ["a date in ten minutes", () => new Date(Date.now() + 10 * MINUTE_MS).toUTCString(), 9 * MINUTE_MS, 13 * MINUTE_MS],
    ["nonsense", () => "soon", 0, 2 * MINUTE_MS],
    ["more than the window", () => "999999999", 55 * MINUTE_MS, 70 * MINUTE_MS],
  ])(
    "asks one line for the patience of %s holds up no other",
    async (_, retryAfter, leastMs, mostMs) => {
      const settledAt = new Map<number, number>();
      const { counts, lastedMs } = await playRun(20, (line, call, sinceMs) => {
        settledAt.set(line, sinceMs);
        return line === 3 && call === 1 ? { status: 429, delayMs: 50, retryAfter: retryAfter() } : FINE;
      });
      expect(counts).toEqual({ total: 20, completed: 20, failed: 0 });
      expect(lastedMs).toBeGreaterThan(leastMs);
      expect(lastedMs).toBeLessThan(mostMs);
      settledAt.delete(3);
      expect(Math.max(...settledAt.values())).toBeLessThan(MINUTE_MS);
    },
    TEST_TIMEOUT_MS,
  );

  test.each<readonly [string, Partial<ScriptedAnswer>, number]>([
    ["never answers", { status: "hang" }, 8],
    ["stops in the middle of an answer", { body: "endless" }, 8],
    ["breaks off in the middle of an answer", { body: "broken" }, 8],
    ["answers with a page", { body: "page" }, 1],
  ])(
    "%s to one line frees its slot, and fails that line alone",
    async (_, answer, calls) => {
      const { run, counts } = await playRun(12, (line) => (line === 5 ? { ...FINE, ...answer } : FINE));
      expect(counts).toEqual({ total: 12, completed: 11, failed: 1 });
      const tries = run.upstream.calls.get(5);
      expect(tries).toBeGreaterThanOrEqual(calls);
      // Those that only find out whether the upstream is back do not count.
      expect(tries).toBeLessThanOrEqual(calls === 1 ? 1 : calls + 4);
      expect([...run.upstream.calls.values()].reduce((sum, count) => sum + count, 0)).toBe(11 + (tries ?? 0));
    },
    TEST_TIMEOUT_MS,
  );
});
