/** What a batch may cost: the count of each billed operation for 1,000 lines, so that none creeps up unseen. */
import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";
import { type BatchSpec, measureBatch } from "../../bench/cost/measure-batch.ts";
import type { PricedUnit } from "../../bench/cost/prices.ts";
import { priceMillionLines, scaleTally } from "../../bench/cost/tally.ts";

const ANSWER_BYTES = 4096;
const MINUTE_MS = 60_000;

/** A tenth above what was measured: `npm run bench:cost` prints the present figures. */
const MOST_PER_1000_LINES: readonly (readonly [BatchSpec, Partial<Record<PricedUnit, number>>])[] = [
  [
    { lines: 5000, answerBytes: ANSWER_BYTES, meanLatencySeconds: 2 },
    {
      workerRequests: 13,
      queueOperations: 36,
      objectRequests: 102,
      objectRowsWritten: 153,
      databaseRowsWritten: 10,
      bucketClassA: 21,
      bucketClassB: 58,
      logLines: 11,
    },
  ],
  [
    { lines: 5000, answerBytes: ANSWER_BYTES, meanLatencySeconds: 15 },
    {
      workerRequests: 30,
      queueOperations: 73,
      objectRequests: 640,
      objectRowsWritten: 520,
      databaseRowsWritten: 55,
      bucketClassA: 114,
      bucketClassB: 171,
      logLines: 26,
    },
  ],
];

test.each(MOST_PER_1000_LINES)(
  "$lines lines, $meanLatencySeconds s a line",
  async (spec, most) => {
    const stub = env.COORDINATORS.getByName(crypto.randomUUID());
    const { tally } = await runInDurableObject(stub, (_, state) => measureBatch({ state, database: env.DB }, spec));
    const counts = scaleTally(tally, spec, { lines: 1000 });
    const units = Object.keys(most) as PricedUnit[];
    const beyond = units.filter((unit) => counts[unit] > (most[unit] ?? 0)).map((unit) => `${unit}: ${counts[unit]}`);
    expect(beyond).toEqual([]);
  },
  MINUTE_MS,
);

test("a million usual lines cost less than 37 cents", async () => {
  const spec = { lines: 5000, answerBytes: ANSWER_BYTES, meanLatencySeconds: 2 };
  const stub = env.COORDINATORS.getByName(crypto.randomUUID());
  const { tally } = await runInDurableObject(stub, (_, state) => measureBatch({ state, database: env.DB }, spec));
  expect(priceMillionLines(tally, spec.lines).dollars).toBeLessThan(0.37);
});
