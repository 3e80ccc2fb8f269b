/**
 * As outages.test.ts, with 5,000 lines: the first of them in `npm test`, three in `npm run test:long`, and all with
 * `LARGE_OUTAGES=6`. `--reporter=verbose` shows how often the upstream was asked.
 */
import { afterEach, describe, expect, inject, test } from "vitest";
import { type Outage, playOutage } from "./outage-run.ts";
import { clearStores } from "./run-checks.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const LINES = 5000;

const OUTAGES: readonly (readonly [Outage["status"], number])[] = [
  [502, 30],
  [500, 30],
  [401, 30],
  [530, 30],
  ["cut", 30],
  ["cut", 180],
];

afterEach(clearStores);

describe(`no line of ${LINES} is lost when the upstream`, () => {
  test.for(OUTAGES.slice(0, inject("faults").largeOutages))(
    "answers %s for %i minutes",
    { timeout: TEST_TIMEOUT_MS },
    async ([status, minutes], { annotate }) => {
      const outage = { status, lines: LINES, fromMs: 0, lastsMs: minutes * MINUTE_MS };
      const { broken, counts, asked, mayBeAsked, lastedMs } = await playOutage(outage);
      expect(broken).toEqual([]);
      expect(counts).toEqual({ total: LINES, completed: LINES, failed: 0 });
      expect(asked).toBeLessThanOrEqual(mayBeAsked);
      await annotate(
        `asked ${asked} times meanwhile; all is over ${Math.round(lastedMs / SECOND_MS)} s after the start`,
      );
    },
  );
});
