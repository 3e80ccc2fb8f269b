/** A batch that begins beside one that has all of an upstream: how soon it has its share. Whole batches on a virtual clock. */
import { afterEach, expect, test } from "vitest";
import { clearStores } from "./run-checks.ts";
import { type Arrival, playSeveral } from "./several-batches.ts";

const MINUTE_MS = 60_000;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const MAX_IN_FLIGHT = 20;
const SHARE = MAX_IN_FLIGHT / 2;
const BEGINS_AFTER_MS = 20_000;

afterEach(clearStores);

/** In ms after `from`: when as many of its lines as that were first in flight at once. */
function inFlightAt(
  arrivals: readonly Arrival[],
  { lastsMs, lines, from }: Record<"lastsMs" | "lines" | "from", number>,
) {
  const full = arrivals.find(
    ({ at }) => arrivals.filter((one) => one.at <= at && one.at > at - lastsMs).length >= lines,
  );
  return full === undefined ? Infinity : full.at - from;
}

// Consumers learn of a smaller share by their next report, which long lines make seldom, and free it as lines end.
test.each([
  ["0.3 s", { lastsMs: 300, lines: 2000, firstWithinMs: 3000, fullWithinMs: 4500 }],
  ["4.5 s", { lastsMs: 4500, lines: 200, firstWithinMs: 9000, fullWithinMs: 20_000 }],
])(
  "beside lines of %s",
  async (_, { lastsMs, lines, firstWithinMs, fullWithinMs }) => {
    const { broken, arrivals, clients } = await playSeveral({
      scenario: { maxInFlight: MAX_IN_FLIGHT, answerOf: () => ({ status: 200, delayMs: lastsMs }) },
      plans: [{ lines }, { lines: 200, beginsAfterMs: BEGINS_AFTER_MS }],
      limitMs: 20 * MINUTE_MS,
    });
    expect(broken).toEqual([]);
    const own = arrivals.filter(({ batchId }) => batchId === clients[1]?.batch?.id);
    const from = BEGINS_AFTER_MS;
    const first = (own[0]?.at ?? Infinity) - from;
    const full = inFlightAt(own, { lastsMs, lines: 0.9 * SHARE, from });
    expect(first).toBeLessThanOrEqual(firstWithinMs);
    expect(full).toBeLessThanOrEqual(fullWithinMs);
  },
  TEST_TIMEOUT_MS,
);
