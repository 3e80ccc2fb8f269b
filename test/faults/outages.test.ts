/**
 * An upstream that serves nobody for a while, at the start of a batch or in the middle of it: no line is lost, and
 * meanwhile the upstream is hardly asked. Whole batches on a virtual clock.
 */
import { afterEach, describe, expect, test } from "vitest";
import { Client } from "./client.ts";
import { FaultRun } from "./fault-run.ts";
import { checkOutcome, clearStores } from "./run-checks.ts";
import { quietScenario, type ScriptedAnswer } from "./scenario.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const MAX_IN_FLIGHT = 64;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const FINE: ScriptedAnswer = { status: 200, delayMs: 300 };

afterEach(clearStores);

interface Outage {
  readonly status: ScriptedAnswer["status"];
  readonly lines: number;
  readonly fromMs: number;
  readonly lastsMs: number;
}

async function playOutage({ status, lines, fromMs, lastsMs }: Outage) {
  const isOut = (sinceMs: number) => sinceMs >= fromMs && sinceMs < fromMs + lastsMs;
  const run: FaultRun = new FaultRun({
    ...quietScenario(),
    lines,
    window: "24h",
    linesPerInvocation: 5,
    maxInFlight: MAX_IN_FLIGHT,
    answerOf: () => (isOut(Date.now() - run.startedAt) ? { status, delayMs: 100 } : FINE),
  });
  const client = new Client(run);
  await run.play(
    () => client.run(),
    () => run.startedAt + fromMs + lastsMs + 3 * HOUR_MS,
  );
  expect(await checkOutcome(run, client)).toEqual([]);
  const asked = run.upstream.inFlight.filter(({ at }) => isOut(at - run.startedAt)).length;
  return { counts: client.batch?.request_counts, asked };
}

const HALF_AN_HOUR_MS = 30 * MINUTE_MS;

describe("no line is lost when the upstream", () => {
  test.each<[string, Outage]>([
    ["answers 502 for half an hour, 100 lines", { status: 502, lines: 100, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 530 for half an hour, 300 lines", { status: 530, lines: 300, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 500 for half an hour, 100 lines", { status: 500, lines: 100, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 500 for half an hour, 300 lines", { status: 500, lines: 300, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 401 for half an hour, 300 lines", { status: 401, lines: 300, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 403 for half an hour, 10 lines", { status: 403, lines: 10, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    [
      "cannot be reached for half an hour, 300 lines",
      { status: "cut", lines: 300, fromMs: 0, lastsMs: HALF_AN_HOUR_MS },
    ],
    ["cannot be reached for 3 hours, 100 lines", { status: "cut", lines: 100, fromMs: 0, lastsMs: 3 * HOUR_MS }],
    ["answers 502 in the middle, 1,000 lines", { status: 502, lines: 1000, fromMs: 3000, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 500 in the middle, 1,000 lines", { status: 500, lines: 1000, fromMs: 3000, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 401 in the middle, 1,000 lines", { status: 401, lines: 1000, fromMs: 3000, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 503 for half an hour, 300 lines", { status: 503, lines: 300, fromMs: 0, lastsMs: HALF_AN_HOUR_MS }],
    ["answers 404 before anything succeeded, 300 lines", { status: 404, lines: 300, fromMs: 0, lastsMs: MINUTE_MS }],
  ])(
    "%s",
    async (_, outage) => {
      const { counts, asked } = await playOutage(outage);
      expect(counts).toEqual({ total: outage.lines, completed: outage.lines, failed: 0 });
      // A round, and two requests a minute; in the first minute the probes come after 1, 2, 4, 8, 16 and 32 s. Where it
      // begins in the middle, some consumers hear of it a round later than others.
      const rounds = outage.fromMs > 0 ? 2 : 1;
      const round = Math.min(MAX_IN_FLIGHT, outage.lines);
      expect(asked).toBeLessThanOrEqual(rounds * round + 6 + (2 * outage.lastsMs) / MINUTE_MS);
    },
    TEST_TIMEOUT_MS,
  );
});
