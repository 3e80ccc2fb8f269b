import { describe, expect, test } from "vitest";
import { Ledger } from "../../src/domain/ledger.ts";
import { countDue, dueTimesOf, isLost, mustRunAlone, nextDue, UNTRIED } from "../../src/domain/line-state.ts";
import type { ClaimedSlice } from "../../src/domain/slices.ts";

const SLICE = { index: 0, firstLine: 0, lineCount: 4, byteStart: 0, byteLength: 400 };

function ledgerOfFour(): Ledger {
  return new Ledger([{ slice: SLICE, progress: "fresh", token: null }]);
}

const numbers = (slices: readonly ClaimedSlice[]) => slices.flatMap(({ lines }) => lines.map(({ line }) => line));

/** All four lines are handed out together and their consumer dies, `times` times. */
function killConsumers(ledger: Ledger, times: number): void {
  for (let death = 0; death < times; death += 1) {
    ledger.handOut(`dead-${death}`, 4, 0);
    ledger.releaseDead(`dead-${death}`);
  }
}

test.each([
  [1, false, false],
  [2, true, false],
  [3, true, false],
  [4, true, true],
])("after %i lapses: alone %s, lost %s", (lapses, alone, lost) => {
  const line = { ...UNTRIED, lapses };
  expect([mustRunAlone(line), isLost(line)]).toEqual([alone, lost]);
});

describe("lines whose consumer died", () => {
  test("once run with others again", () => {
    const ledger = ledgerOfFour();
    killConsumers(ledger, 1);
    expect(numbers(ledger.handOut("next", 4, 0))).toEqual([0, 1, 2, 3]);
  });

  test("twice run one by one", () => {
    const ledger = ledgerOfFour();
    killConsumers(ledger, 2);
    expect(ledger.handOut("next", 4, 0)).toEqual([]);
    expect(numbers(ledger.handOutOne("next", 0))).toEqual([0]);
  });

  test("four times do not run any more, and are there to be settled", () => {
    const ledger = ledgerOfFour();
    killConsumers(ledger, 2);
    for (const token of ["a", "b"]) {
      expect(ledger.lostSlices()).toEqual([]);
      expect(numbers(ledger.handOutOne(token, 0))).toEqual([0]);
      ledger.releaseDead(token);
    }
    expect(numbers(ledger.lostSlices())).toEqual([0]);
    expect(numbers(ledger.handOutOne("next", 0))).toEqual([1]);
    ledger.settleMissing([0]);
    expect(ledger.unsettledLines).toBe(3);
  });

  test("keep that when they are given back, and have lost it when they are settled", () => {
    const ledger = ledgerOfFour();
    killConsumers(ledger, 2);
    ledger.handOutOne("a", 0);
    ledger.giveBack("a", [{ line: 0, attempts: 1, dueAt: null }]);
    expect(numbers(ledger.handOut("b", 4, 0))).toEqual([]);
    expect(numbers(ledger.handOutOne("b", 0))).toEqual([0]);
    ledger.settle("b", [{ line: 0, bytes: 10, result: "completed" }]);
    expect(ledger.unsettledLines).toBe(3);
  });
});

describe("when lines are due", () => {
  const line = (dueAt: number, lapses = 0) => ({ attempts: 1, dueAt, lapses });
  const due = dueTimesOf(SLICE, [line(300), null, line(100), line(200)]);

  test.each([
    [99, 0, 100],
    [100, 1, 200],
    [299, 2, 300],
    [300, 3, null],
  ])("at %i: %i are, the next at %s", (now, count, next) => {
    expect([countDue(due, now), nextDue(due, now)]).toEqual([count, next]);
  });

  test("a lost line never is", () => {
    expect(countDue(dueTimesOf(SLICE, [line(0, 4), null, null, null]), 1000)).toBe(0);
  });
});
