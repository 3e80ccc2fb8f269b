import { describe, expect, test } from "vitest";
import { LEASE_MS } from "../../src/domain/conversation.ts";
import { Dispatches } from "../../src/domain/dispatches.ts";

const noon = new Date("2026-10-01T12:00:00Z");
const UNCLAIMED_MS = 30_000;

function after(ms: number): Date {
  return new Date(noon.getTime() + ms);
}

function sent(...tokens: string[]): Dispatches {
  const dispatches = new Dispatches([], 5, noon);
  for (const token of tokens) dispatches.send(token, noon);
  return dispatches;
}

describe("a dispatch that was sent", () => {
  test("holds no lines, and is listed as sent", () => {
    const dispatches = sent("a");
    expect(dispatches.sentTokens()).toEqual(["a"]);
    expect(dispatches.states(new Map([["a", 7]]))).toEqual([
      { token: "a", phase: "sent", since: noon, heldLines: 0, mostSlots: Infinity },
    ]);
  });

  test("can be claimed once", () => {
    const dispatches = sent("a");
    expect(dispatches.claim("a", noon)).toBe(true);
    expect(dispatches.claim("a", noon)).toBe(false);
    expect(dispatches.claim("nobody", noon)).toBe(false);
    expect(dispatches.find("a")?.phase).toBe("working");
  });

  test.each([
    [UNCLAIMED_MS - 1, []],
    [UNCLAIMED_MS, ["a"]],
  ])("that nobody has claimed after %i ms: lapsed %j", (ms, lapsed) => {
    expect(sent("a").findLapsed(after(ms))).toEqual(lapsed);
  });

  test("has twice the time when the one before it lapsed, and the usual time again after a claim", () => {
    const dispatches = sent("a");
    dispatches.findLapsed(after(UNCLAIMED_MS));
    dispatches.drop("a");
    dispatches.send("b", noon);
    expect(dispatches.nextLapseAt).toBe(after(2 * UNCLAIMED_MS).getTime());
    dispatches.claim("b", noon);
    dispatches.send("c", noon);
    expect(dispatches.find("c")?.leaseUntil).toBe(after(UNCLAIMED_MS).getTime());
  });
});

describe("a dispatch that is overdue", () => {
  const HOUR_MS = 3_600_000;

  test.each([
    ["is waited for while the queue has an older message", -60_000, UNCLAIMED_MS, []],
    ["and while it has one that is as old, as two clocks see it", 5_000, UNCLAIMED_MS, []],
    ["is lost when all that the queue has is younger", 5_001, UNCLAIMED_MS, ["a"]],
    ["is lost when the queue is empty, or does not say", null, UNCLAIMED_MS, ["a"]],
    ["is waited for for an hour", 0, HOUR_MS - 1, []],
    ["and not longer", 0, HOUR_MS, ["a"]],
  ])("%s", (_what, oldestMs, ms, lapsed) => {
    const dispatches = sent("a");
    dispatches.awaitQueue(() => (oldestMs === null ? null : after(oldestMs)), after(ms));
    expect(dispatches.findLapsed(after(ms))).toEqual(lapsed);
  });

  test("is waited for by what its own queue has", () => {
    const dispatches = sent("a", "b");
    dispatches.awaitQueue((token) => (token === "a" ? noon : null), after(UNCLAIMED_MS));
    expect(dispatches.findLapsed(after(UNCLAIMED_MS))).toEqual(["b"]);
  });

  test("is asked for again half a minute later", () => {
    const dispatches = sent("a");
    dispatches.awaitQueue(() => noon, after(UNCLAIMED_MS));
    expect(dispatches.findOverdue(after(2 * UNCLAIMED_MS - 1))).toEqual([]);
    expect(dispatches.findOverdue(after(2 * UNCLAIMED_MS))).toMatchObject([{ token: "a" }]);
  });

  test("is none that works", () => {
    const dispatches = sent("a");
    dispatches.claim("a", noon);
    dispatches.awaitQueue(() => noon, after(LEASE_MS));
    expect(dispatches.findOverdue(after(LEASE_MS))).toEqual([]);
    expect(dispatches.findLapsed(after(LEASE_MS))).toEqual(["a"]);
  });
});

describe("a dispatch of a consumer that works for others, too", () => {
  test("has as many slots as that can spare", () => {
    const dispatches = sent("a");
    dispatches.claim("a", noon);
    dispatches.limitSlots("a", 2);
    expect(dispatches.states(new Map())).toMatchObject([{ phase: "working", mostSlots: 2 }]);
  });

  test("is in the queue again, as it was, when there was nothing for it", () => {
    const dispatches = sent("a");
    const before = dispatches.find("a");
    dispatches.claim("a", after(1000));
    dispatches.limitSlots("a", 2);
    if (before !== null) dispatches.restore(before);
    expect(dispatches.find("a")).toEqual(before);
    expect(dispatches.findLapsed(after(UNCLAIMED_MS))).toEqual(["a"]);
  });
});

test("lines whose results wait to be stored are not unfinished; of what is not known, all are", () => {
  const dispatches = new Dispatches([{ token: "before the restart", phase: "working" }], 5, noon);
  dispatches.send("a", noon);
  dispatches.claim("a", noon);
  dispatches.addLines("a", 10);
  const open = new Map([
    ["a", 10],
    ["before the restart", 7],
  ]);
  expect(dispatches.unfinishedLines(open)).toBe(17);
  dispatches.noteLines("a", 2, 3);
  expect(dispatches.unfinishedLines(open)).toBe(10);
});

test("the most consumers at once are remembered until none is there", () => {
  const dispatches = sent("a", "b", "c");
  expect(dispatches.hadAtOnce).toBe(0);
  dispatches.claim("a", noon);
  dispatches.claim("b", noon);
  dispatches.windDown("b");
  dispatches.drop("b");
  expect(dispatches.hadAtOnce).toBe(2);
  for (const token of ["a", "c"]) dispatches.drop(token);
  dispatches.send("d", noon);
  expect(dispatches.hadAtOnce).toBe(0);
});

describe("a lease", () => {
  test.each([
    [LEASE_MS - 1, []],
    [LEASE_MS, ["a"]],
  ])("%i ms after the claim: lapsed %j", (ms, lapsed) => {
    const dispatches = sent("a");
    dispatches.claim("a", noon);
    expect(dispatches.findLapsed(after(ms))).toEqual(lapsed);
  });

  test("is renewed by every call", () => {
    const dispatches = sent("a");
    dispatches.claim("a", noon);
    dispatches.renew("a", after(LEASE_MS - 1));
    expect(dispatches.findLapsed(after(LEASE_MS))).toEqual([]);
    expect(dispatches.nextLapseAt).toBe(after(2 * LEASE_MS - 1).getTime());
  });

  test("begins anew after a restart, for those that were sent and those that worked", () => {
    const stored = [
      { token: "a", phase: "sent" as const },
      { token: "b", phase: "working" as const },
    ];
    const dispatches = new Dispatches(stored, 5, noon);
    expect(dispatches.findLapsed(after(LEASE_MS - 1))).toEqual([]);
    expect(dispatches.findLapsed(after(LEASE_MS))).toEqual(["a", "b"]);
    const openLines = new Map([
      ["a", 7],
      ["b", 7],
    ]);
    expect(dispatches.states(openLines)).toMatchObject([{ heldLines: 0 }, { heldLines: 5 }]);
  });

  test("that is dropped is nobody's", () => {
    const dispatches = sent("a");
    dispatches.drop("a");
    expect(dispatches.size).toBe(0);
    expect(dispatches.find("a")).toBe(null);
    expect(dispatches.nextLapseAt).toBe(null);
    dispatches.renew("a", noon);
    dispatches.setSlots("a", 5);
    expect(dispatches.tokens()).toEqual([]);
  });
});

test("a dispatch that winds down keeps its place, and the lines that it holds count", () => {
  const dispatches = sent("a", "b");
  dispatches.claim("a", noon);
  dispatches.setSlots("a", 5);
  dispatches.addLines("a", 3);
  dispatches.windDown("a");
  expect(dispatches.states(new Map([["a", 3]]))).toMatchObject([
    { token: "a", phase: "winding_down", heldLines: 3 },
    { token: "b", phase: "sent", heldLines: 0 },
  ]);
});

test.each([
  ["as many as it was told it may", { openLines: 9, slots: 5, inFlight: 0, lines: 9 }, 5],
  ["no more than are with it", { openLines: 3, slots: 5, inFlight: 5, lines: 9 }, 3],
  ["none when none is with it", { openLines: 0, slots: 5, inFlight: 5, lines: 9 }, 0],
  ["no more than it says that it has", { openLines: 9, slots: 5, inFlight: 1, lines: 2 }, 2],
  ["what it had when it last reported, though it may have less", { openLines: 9, slots: 2, inFlight: 5, lines: 9 }, 5],
  ["and not more than it was told since", { openLines: 9, slots: 5, inFlight: 2, lines: 9 }, 5],
])("a dispatch holds %s", (_what, { openLines, slots, inFlight, lines }, heldLines) => {
  const dispatches = sent("a");
  dispatches.claim("a", noon);
  dispatches.noteLines("a", inFlight, lines);
  dispatches.setSlots("a", slots);
  expect(dispatches.states(new Map([["a", openLines]]))).toMatchObject([{ heldLines }]);
});

test("a dispatch that reports no lines holds those that it is given with the answer", () => {
  const dispatches = sent("a");
  dispatches.claim("a", noon);
  dispatches.setSlots("a", 5);
  dispatches.noteLines("a", 0, 0);
  dispatches.addLines("a", 3);
  expect(dispatches.states(new Map([["a", 9]]))).toMatchObject([{ heldLines: 3 }]);
});
