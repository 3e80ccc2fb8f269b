/**
 * An upstream that serves nobody for a while, at the start of a batch or in the middle of it: no line is lost, and
 * meanwhile the upstream is hardly asked. Whole batches on a virtual clock.
 */
import { afterEach, describe, expect, test } from "vitest";
import { type Outage, playOutage } from "./outage-run.ts";
import { clearStores } from "./run-checks.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;

afterEach(clearStores);

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
      const { broken, counts, asked, mayBeAsked } = await playOutage(outage);
      expect(broken).toEqual([]);
      expect(counts).toEqual({ total: outage.lines, completed: outage.lines, failed: 0 });
      expect(asked).toBeLessThanOrEqual(mayBeAsked);
    },
    TEST_TIMEOUT_MS,
  );
});
