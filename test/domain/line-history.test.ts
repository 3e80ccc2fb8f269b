import { describe, expect, test } from "vitest";
import { type FailedTry, isSuspect, type LineHistory, noteFailure } from "../../src/domain/line-history.ts";

const failure = { code: "server_error", message: "No." };

const TRIED: FailedTry = {
  class: "stumble",
  failure,
  startedAt: new Date(0),
  now: new Date(0),
  servedAt: null,
  isProbe: false,
  isTail: false,
};

/** Each failure a second after the one before; `served`: seconds at which other lines were served. */
function failEachSecond(times: number, served: readonly number[]): LineHistory {
  let history: LineHistory | null = null;
  for (let second = 1; second <= times; second += 1) {
    const past = served.filter((at) => at < second);
    const servedAt = past.length === 0 ? null : Math.max(...past) * 1000;
    const now = new Date(second * 1000);
    history = noteFailure(history, { ...TRIED, startedAt: now, now, servedAt });
  }
  if (history === null) throw new Error("it never failed");
  return history;
}

describe("a failure counts", () => {
  test.each<[string, number, readonly number[], number]>([
    ["never while nobody is served", 50, [], 0],
    ["never when others were served only before the first one", 50, [0.5], 0],
    ["when others were served since", 2, [1.5], 1],
    ["each time while others are served all along", 8, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5], 7],
    ["always, once the line is known to fail while others succeed", 8, [1.5], 7],
  ])("%s", (_, times, served, spent) => {
    expect(failEachSecond(times, served).spent).toBe(spent);
  });

  test("never as a probe", () => {
    const before = failEachSecond(3, [1.5]);
    const probe = { ...TRIED, startedAt: new Date(7000), now: new Date(9000), servedAt: 8000, isProbe: true };
    expect(noteFailure(before, probe).spent).toBe(before.spent);
    expect(noteFailure(before, { ...probe, isTail: true }).spent).toBe(before.spent + 1);
  });
});

test.each([
  [1000, 0],
  [1001, 1],
])("a try that began at 1000 and during which others were served at %i: %i count", (servedAt, spent) => {
  const tried = { ...TRIED, class: "away" as const, startedAt: new Date(1000), now: new Date(6000), servedAt };
  expect(noteFailure(null, tried).spent).toBe(spent);
});

test("a line is suspect once a failure counts, where the upstream stumbles over it", () => {
  const once = failEachSecond(2, [1.5]);
  expect([isSuspect(null, "stumble"), isSuspect(failEachSecond(5, []), "stumble")]).toEqual([false, false]);
  expect([isSuspect(once, "stumble"), isSuspect(once, "away"), isSuspect(once, "refused")]).toEqual([
    true,
    false,
    false,
  ]);
});

test("the same answer in a row is counted, another begins anew", () => {
  const before = failEachSecond(3, []);
  expect(before.repeats).toBe(3);
  expect(noteFailure(before, { ...TRIED, failure: { ...failure, message: "Still no." } }).repeats).toBe(1);
});

test.each([
  [300, 300],
  [301, 300],
])("of a message of %i characters %i are kept", (length, kept) => {
  const long = { code: "c", message: "x".repeat(length) };
  const history = noteFailure(null, { ...TRIED, failure: long });
  expect(history.failure.message.length).toBe(kept);
});
