import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type RunningBatch, findAffected, planShare } from "../../src/domain/upstream-share.ts";

/** One batch for each number of unsettled lines, the oldest first. */
function batches(...lines: readonly number[]): readonly RunningBatch[] {
  return lines.map((unsettledLines, index) => ({
    id: `batch-${String(index).padStart(2, "0")}`,
    unsettledLines,
    runnableLines: unsettledLines,
  }));
}

function sharesOf(maxInFlight: number, running: readonly RunningBatch[], linesPerInvocation = 5): readonly number[] {
  return running.map(({ id }) => planShare({ maxInFlight, linesPerInvocation, running }, id));
}

describe("when there is room for all", () => {
  test.each([
    ["one has it all", 64, [1000], [64]],
    ["two have half each", 64, [1000, 1000], [32, 32]],
    ["what a small one cannot use goes to the others", 64, [4, 1000, 1000], [30, 30, 30]],
    ["what two cannot use, too", 64, [4, 10, 1000], [50, 50, 50]],
    ["all may have what there is when none can use its part", 64, [1, 2, 3], [64, 64, 64]],
    ["a part is never less than one", 3, [1, 1, 1], [1, 1, 1]],
    ["one that is settled keeps nothing from the others", 10, [0, 1000], [10, 10]],
  ])("%s", (_, maxInFlight, lines, shares) => {
    expect(sharesOf(maxInFlight, batches(...lines))).toEqual(shares);
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
    expect(sharesOf(64, batches(20_000, 10), 64)).toEqual([54, 54]);
    expect(sharesOf(64, batches(...Array.from({ length: 9 }, () => 100)), 64)).toEqual([8, 8, 8, 8, 8, 8, 8, 8, 0]);
  });
});

test.each([
  [64, 5],
  [16, 2],
  [1, 1],
])("of %i lines a batch that is not among them has a turn of %i", (maxInFlight, lines) => {
  const load = { maxInFlight, linesPerInvocation: 5, running: batches(10, 10) };
  expect(planShare(load, "another")).toBe(lines);
});

test("lines that wait to be tried again hold no room", () => {
  const waiting = { id: "batch-waiting", unsettledLines: 1000, runnableLines: 2 };
  const running = [waiting, ...batches(1000, 1000)];
  expect(sharesOf(64, running)).toEqual([31, 31, 31]);
  const many = [waiting, ...batches(...Array.from({ length: 13 }, () => 500))];
  expect(sharesOf(64, many)[0]).toBe(2);
  expect(sharesOf(64, many).reduce((sum, lines) => sum + lines, 0)).toBe(64);
});

describe("findAffected", () => {
  const others = (running: readonly RunningBatch[]) => ({ maxInFlight: 64, linesPerInvocation: 5, running });
  const newcomer: RunningBatch = { id: "batch-x", unsettledLines: 10, runnableLines: 10 };

  test.each([
    ["nobody, where there is nobody", [], []],
    ["all, where all have a part less", [1000, 1000], ["batch-00", "batch-01"]],
    ["nobody, where none can use what there is", [1, 2], []],
    ["those whose turn it would be", Array.from({ length: 13 }, () => 1000), ["batch-11", "batch-12"]],
  ])("finds %s", (_what, lines, affected) => {
    expect(findAffected(others(batches(...lines)), newcomer)).toEqual(affected);
  });

  test("does not matter whether it is listed itself", () => {
    const listed = [...batches(1000, 1000), newcomer];
    expect(findAffected(others(listed), newcomer)).toEqual(["batch-00", "batch-01"]);
  });
});

describe("properties", () => {
  const contests = fc.record({
    maxInFlight: fc.integer({ min: 1, max: 200 }),
    linesPerInvocation: fc.integer({ min: 1, max: 64 }),
    running: fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 60 }),
  });

  test("together they have no more than there is", () => {
    fc.assert(
      fc.property(contests, ({ maxInFlight, linesPerInvocation, running }) => {
        const shares = sharesOf(maxInFlight, batches(...running), linesPerInvocation);
        const used = shares.map((share, index) => Math.min(share, running[index] ?? 0));
        expect(used.reduce((sum, lines) => sum + lines, 0)).toBeLessThanOrEqual(maxInFlight);
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
        const used = shares.map((share, index) => Math.min(share, running[index] ?? 0));
        const left = maxInFlight - used.reduce((sum, lines) => sum + lines, 0);
        const wanting = running.filter((lines, index) => lines > (shares[index] ?? 0));
        // In turns, nothing; else what cannot be divided evenly.
        const undivided = shares.includes(0) ? 0 : running.length - 1;
        expect(left).toBeLessThanOrEqual(wanting.length === 0 ? maxInFlight : undivided);
      }),
    );
  });
});
