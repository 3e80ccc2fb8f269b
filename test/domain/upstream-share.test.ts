import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type RunningBatch, planShares } from "../../src/domain/upstream-share.ts";

/** One batch for each number of unsettled lines, the oldest first. */
function batches(...lines: readonly number[]): readonly RunningBatch[] {
  return lines.map((unsettledLines, index) => ({
    id: `batch-${String(index).padStart(2, "0")}`,
    unsettledLines,
    runnableLines: unsettledLines,
  }));
}

function sharesOf(lines: number, running: readonly RunningBatch[], linesPerInvocation = 5): readonly number[] {
  const shares = planShares({ lines, linesPerInvocation, running });
  return running.map(({ id }) => shares.get(id) ?? 0);
}

describe("when there is room for all", () => {
  test.each([
    ["one has it all", 64, [1000], [64]],
    ["two have half each", 64, [1000, 1000], [32, 32]],
    ["what a small one cannot use goes to the others", 64, [4, 1000, 1000], [4, 30, 30]],
    ["what two cannot use, too", 64, [4, 10, 1000], [4, 10, 50]],
    ["none has more than it could use", 64, [1, 2, 3], [1, 2, 3]],
    ["what cannot be divided goes to the oldest, a line each", 65, [1000, 1000, 4], [31, 30, 4]],
    ["but not to those that could not use it", 65, [30, 1000, 1000], [22, 22, 21]],
    ["a part is never less than one", 3, [1, 1, 1], [1, 1, 1]],
    ["one that is settled has nothing", 10, [0, 1000], [0, 10]],
  ])("%s", (_, maxInFlight, lines, shares) => {
    expect(sharesOf(maxInFlight, batches(...lines))).toEqual(shares);
  });

  test.each([[0], [0.5]])("of %f lines nobody has anything", (lines) => {
    expect(sharesOf(lines, batches(10, 10))).toEqual([0, 0]);
  });
});

describe("when there is not", () => {
  test.each([
    [
      "the oldest and the smallest come first",
      40,
      [900, 800, 700, 600, 500, 400, 300, 200, 100],
      [5, 5, 5, 5, 0, 5, 5, 5, 5],
    ],
    ["small ones take little room", 8, [900, 800, 700, 600, 500, 400, 300, 1, 2, 3], [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]],
    [
      "what is left when all have a turn but one is for that one",
      12,
      [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
      [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
    ],
    [
      "an upstream that takes less than a consumer sends lets several have a turn",
      3,
      [900, 800, 700, 600],
      [1, 1, 0, 1],
    ],
  ])("%s", (_, maxInFlight, lines, shares) => {
    expect(sharesOf(maxInFlight, batches(...lines))).toEqual(shares);
  });

  test("one consumer that could take everything leaves room for others", () => {
    expect(sharesOf(64, batches(20_000, 10), 64)).toEqual([54, 10]);
    expect(sharesOf(64, batches(...Array.from({ length: 9 }, () => 100)), 64)).toEqual([8, 8, 8, 8, 8, 8, 8, 8, 0]);
  });
});

test("lines that wait to be tried again hold no room", () => {
  const waiting = { id: "batch-waiting", unsettledLines: 1000, runnableLines: 2 };
  const running = [waiting, ...batches(1000, 1000)];
  expect(sharesOf(64, running)).toEqual([2, 31, 31]);
  const many = [waiting, ...batches(...Array.from({ length: 13 }, () => 500))];
  expect(sharesOf(64, many)[0]).toBe(2);
  expect(sharesOf(64, many).reduce((sum, lines) => sum + lines, 0)).toBe(64);
});

describe("properties", () => {
  const contests = fc.record({
    maxInFlight: fc.integer({ min: 1, max: 200 }),
    linesPerInvocation: fc.integer({ min: 1, max: 64 }),
    running: fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 60 }),
  });

  test("together they have no more than there is, and none has more than it could use", () => {
    fc.assert(
      fc.property(contests, ({ maxInFlight, linesPerInvocation, running }) => {
        const shares = sharesOf(maxInFlight, batches(...running), linesPerInvocation);
        expect(shares.reduce((sum, lines) => sum + lines, 0)).toBeLessThanOrEqual(maxInFlight);
        for (const [index, share] of shares.entries()) expect(share).toBeLessThanOrEqual(running[index] ?? 0);
      }),
    );
  });

  test("the oldest always has something, and so has the smallest when there is room for two", () => {
    fc.assert(
      fc.property(contests, ({ maxInFlight, linesPerInvocation, running }) => {
        const shares = sharesOf(maxInFlight, batches(...running), linesPerInvocation);
        expect(shares[0]).toBeGreaterThan(0);
        if (maxInFlight > 1) expect(shares[running.indexOf(Math.min(...running))]).toBeGreaterThan(0);
      }),
    );
  });

  test("no room is left that somebody could use", () => {
    fc.assert(
      fc.property(contests, ({ maxInFlight, linesPerInvocation, running }) => {
        const shares = sharesOf(maxInFlight, batches(...running), linesPerInvocation);
        const [used, wanted] = [shares, running].map((lines) => lines.reduce((sum, more) => sum + more, 0));
        expect(used).toBe(Math.min(maxInFlight, wanted ?? 0));
      }),
    );
  });

  test("where there is room for all, whoever has less than another could use no more", () => {
    const roomy = fc.record({
      maxInFlight: fc.integer({ min: 40, max: 200 }),
      running: fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 }),
    });
    fc.assert(
      fc.property(roomy, ({ maxInFlight, running }) => {
        const shares = sharesOf(maxInFlight, batches(...running), 2);
        const most = Math.max(...shares);
        const less = shares.flatMap((share, index) => (share < most - 1 ? [[share, running[index]]] : []));
        expect(less.every(([share, lines]) => share === lines)).toBe(true);
      }),
    );
  });
});
