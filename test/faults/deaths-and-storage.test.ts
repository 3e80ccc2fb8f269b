/** Whole batches with one trouble each, on a virtual clock: a line that kills its consumers, and R2 away for minutes. */
import { afterEach, describe, expect, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome, clearStores } from "./run-checks.ts";
import { quietScenario, refuseByR2, type Scenario, type ScriptedAnswer } from "./scenario.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const LIMIT_MS = 30 * MINUTE_MS;
const LINES = 20;
const FINE: ScriptedAnswer = { status: 200, delayMs: 2 * SECOND_MS };

afterEach(clearStores);

async function playRun(changes: Partial<Scenario>) {
  const run = new FaultRun({
    ...quietScenario(),
    lines: LINES,
    window: "24h",
    linesPerInvocation: 5,
    answerOf: () => FINE,
    ...changes,
  });
  const client = new Client(run);
  await run.play(
    () => client.run(),
    () => run.startedAt + LIMIT_MS,
  );
  expect(await checkOutcome(run, client)).toEqual([]);
  return { run, counts: client.batch?.request_counts };
}

describe("a line that kills its consumer", () => {
  test.each([
    ["each time fails alone", Infinity, 4, { total: LINES, completed: LINES - 1, failed: 1 }],
    ["three times completes", 3, 3, { total: LINES, completed: LINES, failed: 0 }],
  ])("%s", async (_, times, kills, expected) => {
    const { run, counts } = await playRun({
      answerOf: (line, call) => (line === 3 && call <= times ? { ...FINE, status: "kill" } : FINE),
    });
    expect(counts).toEqual(expected);
    expect(run.rules.holders.kills).toBe(kills);
  });
});

describe("R2 refuses everything", () => {
  test.each(["consumer", "coordinator"] as const)(
    "that a %s asks for four minutes, and no line is sent twice",
    async (side) => {
      const outage = refuseByR2({ sides: [side], fromMs: SECOND_MS, untilMs: SECOND_MS + 4 * MINUTE_MS });
      const { run, counts } = await playRun(outage);
      expect(run.injector.faults).toBeGreaterThan(0);
      expect(counts).toEqual({ total: LINES, completed: LINES, failed: 0 });
      expect(run.upstream.inFlight).toHaveLength(LINES);
    },
  );
});
