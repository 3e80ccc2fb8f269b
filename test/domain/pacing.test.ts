import { describe, expect, test } from "vitest";
import { type AnswersHeard, NOTHING_HEARD } from "../../src/domain/breaker.ts";
import type { Grant, Statement } from "../../src/domain/grant.ts";
import { Pacing } from "../../src/domain/pacing.ts";
import { startBudget } from "../../src/domain/rate-budget.ts";
import type { BearingMemory, PacedUpstream } from "../../src/domain/upstream-bearing.ts";
import { NO_LIMITS } from "../support/no-budget.ts";
import { aStatement } from "../support/statement.ts";

const NOON = Date.parse("2026-10-01T12:00:00Z");

function at(ms: number): Date {
  return new Date(NOON + ms);
}

function startPacing(
  upstream: Partial<PacedUpstream> = {},
  known: { readonly memory?: BearingMemory; readonly batchIds?: readonly string[] } = {},
): Pacing {
  const paced = { maxInFlight: 64, linesPerInvocation: 5, limits: NO_LIMITS, ...upstream };
  const memory = known.memory === undefined ? null : { ...known.memory, budget: startBudget(NO_LIMITS, 0) };
  return new Pacing({ id: "life", startedAt: at(0) }, paced, { memory, batchIds: known.batchIds ?? [] });
}

const state = aStatement;

function heard(counts: Partial<AnswersHeard>): Pick<Statement, "heard"> {
  return { heard: { ...NOTHING_HEARD, ...counts } };
}

/** The batch says what it has, and is answered. */
function tell(pacing: Pacing, statement: Statement, ms = 0): Grant {
  pacing.hear(statement, at(ms));
  return pacing.grantTo(statement.batchId, at(ms));
}

function urgentOf(pacing: Pacing, ms = 0, most = 32): readonly (readonly [string, number])[] {
  return pacing.takeUrgent(at(ms), () => false, most).map(([id, { lines }]) => [id, lines]);
}

describe("a batch that comes", () => {
  test("alone, has all that it could use at once", () => {
    expect(tell(startPacing(), state("a", 1000)).lines).toBe(64);
    expect(tell(startPacing(), state("a", 3)).lines).toBe(3);
    expect(tell(startPacing(), state("a", 0)).lines).toBe(0);
  });

  test("beside another one waits until that has made room, and has its share then", () => {
    const pacing = startPacing();
    const first = tell(pacing, state("a", 1000));
    expect(tell(pacing, state("b", 1000)).lines).toBe(0);
    const [[id, smaller] = ["", null]] = pacing.takeUrgent(at(0), () => false, 32);
    expect([id, smaller?.lines]).toEqual(["a", 32]);
    expect(urgentOf(pacing)).toEqual([]);
    // It goes by that, and has more in flight still.
    pacing.hear(state("a", 1000, { grant: smaller, heldLines: 50 }), at(0));
    expect(urgentOf(pacing)).toEqual([["b", 14]]);
    pacing.hear(state("a", 1000, { grant: smaller, heldLines: 32 }), at(0));
    expect(urgentOf(pacing)).toEqual([["b", 32]]);
    expect(first.lines).toBe(64);
  });

  test("has what others leave unused, though they have not been told anything", () => {
    const pacing = startPacing();
    const few = tell(pacing, state("a", 10));
    tell(pacing, state("a", 10, { grant: few, heldLines: 10 }));
    expect(tell(pacing, state("b", 1000)).lines).toBe(54);
  });

  test("has what is left by one that is over", () => {
    const pacing = startPacing();
    tell(pacing, state("a", 1000));
    tell(pacing, state("b", 1000));
    pacing.hear(state("a", 0, { isOver: true }), at(0));
    expect(pacing.has("a")).toBe(false);
    expect(urgentOf(pacing)).toEqual([["b", 64]]);
  });

  test("to an upstream that is gone from the settings waits", () => {
    expect(tell(startPacing({ maxInFlight: 0 }), state("a", 1000)).lines).toBe(0);
  });
});

describe("who is told at once", () => {
  test.each([
    ["not of a few lines more", 100, 3, []],
    ["not of less than a quarter more", 100, 12, []],
    ["of a quarter more", 100, 13, [["a", 63]]],
    ["of a quarter more, but not when that is less than four lines", 8, 3, []],
    ["of four lines more, where that is a quarter", 8, 4, [["a", 8]]],
  ])("%s", (_, maxInFlight, releasedLines, urgent) => {
    const limit = { size: maxInFlight, doublesUntil: 0 };
    const pacing = startPacing({ maxInFlight, linesPerInvocation: 1 }, { memory: { limit, pause: null } });
    const half = maxInFlight / 2;
    const other = tell(pacing, state("b", half));
    pacing.hear(state("b", half, { grant: other }), at(0));
    expect(tell(pacing, state("a", 1000)).lines).toBe(half);
    const left = half - releasedLines;
    const less = tell(pacing, state("b", left, { grant: { ...other, lines: left } }));
    pacing.hear(state("b", left, { grant: less }), at(0));
    expect(urgentOf(pacing)).toEqual(urgent);
  });

  test("no more at a time than may be told, none that is being told, and none that cannot be reached", () => {
    const pacing = startPacing({ maxInFlight: 0 }, {});
    expect(pacing.takeUrgent(at(0), () => false, 0)).toEqual([]);
    const open = startPacing({ maxInFlight: 64 });
    tell(open, state("a", 64));
    const waiting = ["b", "c", "d", "e"];
    for (const id of waiting) expect(tell(open, state(id, 10)).lines).toBe(0);
    open.hear(state("a", 0, { isOver: true }), at(0));
    open.noteUnreachable("c");
    const told = open.takeUrgent(at(0), (id) => id === "b", 1).map(([id]) => id);
    expect(told).toEqual(["d"]);
    expect(open.takeUrgent(at(0), (id) => id === "b", 9).map(([id]) => id)).toEqual(["e"]);
    expect(urgentOf(open).map(([id]) => id)).toEqual(["b"]);
    open.hear(state("c", 10), at(0));
    expect(open.grantTo("c", at(0)).lines).toBe(10);
  });
});

describe("after a restart", () => {
  const earlier = { life: "earlier", number: 7, lines: 20 };

  test("nobody has more than before until all have said what they have", () => {
    const pacing = startPacing({}, { batchIds: ["a", "b"] });
    expect(pacing.findUnheard()).toEqual(["a", "b"]);
    expect(tell(pacing, state("a", 1000, { grant: earlier, heldLines: 20 })).lines).toBe(20);
    expect(tell(pacing, state("c", 1000)).lines).toBe(0);
    expect(pacing.findUnheard()).toEqual(["b"]);
    expect(urgentOf(pacing, 29_999)).toEqual([]);
    expect(pacing.nextDueAt(at(0))).toBe(NOON + 30_000);
    pacing.hear(state("b", 10, { grant: { ...earlier, lines: 10 }, heldLines: 10 }), at(1000));
    expect(urgentOf(pacing, 1000)).toEqual([
      ["a", 27],
      ["b", 10],
      ["c", 27],
    ]);
    expect(pacing.nextDueAt(at(1000))).toBeNull();
  });

  test("or for 30 s", () => {
    const pacing = startPacing({}, { batchIds: ["a", "b"] });
    tell(pacing, state("a", 1000, { grant: earlier, heldLines: 20 }));
    expect(urgentOf(pacing, 29_999)).toEqual([]);
    expect(urgentOf(pacing, 30_000)).toEqual([["a", 64]]);
  });

  test("one that is not there any more is not waited for, and one that cannot be reached is not asked again", () => {
    const pacing = startPacing({}, { batchIds: ["a", "b", "c"] });
    tell(pacing, state("a", 1000));
    pacing.drop("b");
    pacing.noteUnreachable("c");
    expect(pacing.findUnheard()).toEqual([]);
    expect(urgentOf(pacing)).toEqual([]);
    pacing.drop("c");
    expect(urgentOf(pacing)).toEqual([["a", 64]]);
  });

  test("the limit and the pause go on as they were", () => {
    const pause = { reason: "away", failure: null, since: NOON, probeAt: NOON + 60_000, seconds: 60 } as const;
    const memory = { limit: { size: 7, doublesUntil: 0 }, pause };
    expect(startPacing({}, { memory }).memory).toMatchObject(memory);
    expect(tell(startPacing({}, { memory: { ...memory, pause: null } }), state("a", 1000)).lines).toBe(7);
    expect(tell(startPacing({}, { memory, batchIds: ["a"] }), state("a", 1000))).toMatchObject({ lines: 0, pause });
  });

  test("a pause in which nobody was left is found out anew by whoever comes", () => {
    const pause = { reason: "refused", failure: null, since: NOON - 86_400_000, probeAt: NOON, seconds: 300 } as const;
    const pacing = startPacing({}, { memory: { limit: { size: 7, doublesUntil: 0 }, pause } });
    expect(tell(pacing, state("a", 1000))).toMatchObject({ lines: 1, pause: { since: NOON, seconds: 0 } });
  });

  test("a limit beyond a max_in_flight that was made smaller meanwhile counts for no more than that", () => {
    const memory = { limit: { size: 64, doublesUntil: 0 }, pause: null };
    expect(tell(startPacing({ maxInFlight: 10 }, { memory }), state("a", 1000)).lines).toBe(10);
  });
});

describe("in a pause", () => {
  const AWAY = heard({ away: 20 });

  /** Three batches that have 21 lines or so, and an upstream that has just gone away. */
  function pause(): Pacing {
    const pacing = startPacing();
    for (const id of ["a", "b", "c"]) tell(pacing, state(id, 1000));
    tell(pacing, state("a", 1000, AWAY));
    return pacing;
  }

  test("nobody has anything, and all are told", () => {
    const pacing = pause();
    expect(pacing.pause).toMatchObject({ reason: "away", probeAt: NOON + 1000 });
    expect(tell(pacing, state("b", 1000)).lines).toBe(0);
    expect(tell(pacing, state("a", 1000))).toMatchObject({ lines: 0, pause: pacing.pause });
    expect(pacing.nextDueAt(at(0))).toBe(NOON + 1000);
  });

  test("one line probes when it is due, of one batch after the other", () => {
    const pacing = pause();
    for (const [id, grant] of pacing.takeUrgent(at(0), () => false, 32)) tell(pacing, state(id, 1000, { grant }));
    const probers: string[] = [];
    for (let probe = 0; probe < 4; probe += 1) {
      const ms = (pacing.pause?.probeAt ?? 0) - NOON;
      const urgent = pacing.takeUrgent(at(ms), () => false, 32);
      expect(urgent.map(([, { lines }]) => lines)).toEqual([1]);
      expect(urgentOf(pacing, ms)).toEqual([]);
      const [id, grant] = urgent[0] ?? ["", null];
      probers.push(id);
      expect(tell(pacing, state(id, 1000, { grant, ...heard({ away: 1 }) }), ms).lines).toBe(0);
    }
    expect(probers).toEqual(["a", "b", "c", "a"]);
  });

  test("one that cannot be reached, or has nothing to run, does not probe", () => {
    const pacing = pause();
    pacing.noteUnreachable("a");
    pacing.hear(state("b", 0), at(0));
    expect(urgentOf(pacing, 1000).filter(([, lines]) => lines > 0)).toEqual([["c", 1]]);
    pacing.noteUnreachable("c");
    pacing.hear(state("a", 1000), at(1000));
    expect(pacing.grantTo("a", at(1000)).lines).toBe(1);
  });

  test("a prober whose answer is not heard of probes on: there is one at a time", () => {
    const pacing = pause();
    const first = urgentOf(pacing, 1000).filter(([, lines]) => lines > 0);
    expect(first).toEqual([["a", 1]]);
    for (const id of ["b", "c"]) expect(tell(pacing, state(id, 1000), 9000).lines).toBe(0);
  });

  test("answers to lines that were in flight when it began do not lengthen it", () => {
    const pacing = pause();
    tell(pacing, state("b", 1000, AWAY), 500);
    expect(pacing.pause?.probeAt).toBe(NOON + 1000);
  });

  test("a fine answer ends it for all, and the limit doubles from one line", () => {
    const pacing = pause();
    const [, probe] = pacing.takeUrgent(at(1000), () => false, 32).find(([, { lines }]) => lines > 0) ?? [];
    const fine = tell(pacing, state("a", 1000, { grant: probe ?? null, ...heard({ fine: 1, succeeded: 1 }) }), 1500);
    expect(fine.pause).toBeNull();
    expect(fine.servedAt).toBe(NOON + 1500);
    expect(pacing.memory.limit).toEqual({ size: 2, doublesUntil: 48 });
  });

  test("what others say of lines from before it does not end the doubling", () => {
    const pacing = pause();
    tell(pacing, state("a", 1000, heard({ fine: 1, succeeded: 1, away: 5 })), 1500);
    expect(pacing.memory.limit).toEqual({ size: 2, doublesUntil: 48 });
  });

  test("nothing is due while nobody could probe", () => {
    const pacing = pause();
    for (const id of ["a", "b", "c"]) pacing.hear(state(id, 0), at(0));
    expect(pacing.nextDueAt(at(0))).toBeNull();
  });
});

describe("the limit", () => {
  test("grows by what all batches heard together, and is shared out", () => {
    const pacing = startPacing({ maxInFlight: 1000 });
    const first = tell(pacing, state("a", 1000));
    expect(first.lines).toBe(64);
    expect(tell(pacing, state("a", 1000, { grant: first, ...heard({ fine: 64, succeeded: 64 }) })).lines).toBe(128);
  });

  test("does not grow where there are no lines for it", () => {
    const pacing = startPacing({ maxInFlight: 1000 });
    tell(pacing, state("a", 40));
    tell(pacing, state("a", 40, heard({ fine: 40, succeeded: 40 })));
    expect(pacing.memory.limit.size).toBe(64);
  });

  test("does not grow before the time for which the upstream has asked, whoever it asked", () => {
    const pacing = startPacing({ maxInFlight: 1000 });
    for (const id of ["a", "b"]) tell(pacing, state(id, 1000));
    tell(pacing, state("a", 1000, heard({ fine: 1, busy: 2, retryAfterSeconds: 10 })));
    const { size } = pacing.memory.limit;
    tell(pacing, state("b", 1000, heard({ fine: 60 })), 9_999);
    expect(pacing.memory.limit.size).toBe(size);
    tell(pacing, state("b", 1000, heard({ fine: 60 })), 10_000);
    expect(pacing.memory.limit.size).toBeGreaterThan(size);
  });

  test("shrinks by what one batch heard, for all", () => {
    const pacing = startPacing();
    const grants = ["a", "b"].map((id) => tell(pacing, state(id, 1000)));
    tell(pacing, state("a", 1000, { grant: grants[0] ?? null, ...heard({ fine: 20, busy: 20 }) }));
    expect(pacing.memory.limit.size).toBeCloseTo(54, 0);
  });
});

describe("a consumer with idle slots", () => {
  /** Two that share 64 lines, of which they have none in flight yet. */
  function startTwo(): Pacing {
    const pacing = startPacing();
    for (const id of ["a", "b"]) pacing.hear(state(id, 32), at(0));
    pacing.grantTo("a", at(0));
    pacing.grantTo("b", at(1));
    return pacing;
  }

  test("is sent to the batch that has waited longest for somebody to run what it may", () => {
    const pacing = startTwo();
    expect(pacing.findWork(64, at(2))).toBe("a");
    expect(pacing.findWork(64, at(2))).toBe("b");
    expect(pacing.findWork(64, at(2))).toBeNull();
  });

  test("counts as there with its slots, in turn with the others", () => {
    const pacing = startTwo();
    const found = Array.from({ length: 15 }, (_, index) => pacing.findWork(5, at(2 + index)));
    expect(found).toEqual([...Array.from({ length: 14 }, (_, index) => (index % 2 === 0 ? "a" : "b")), null]);
  });

  test("counts until the batch says what it has, or says nothing for a second", () => {
    const pacing = startTwo();
    for (const id of ["a", "b"]) expect(pacing.findWork(32, at(2))).toBe(id);
    pacing.hear(state("b", 32, { heldLines: 30 }), at(10));
    expect(pacing.findWork(2, at(10))).toBe("b");
    expect(pacing.findWork(2, at(10))).toBeNull();
    expect(pacing.findWork(32, at(1002))).toBe("a");
  });

  test("is sent to nobody who has all that it may, or that nothing more could run for", () => {
    const pacing = startTwo();
    pacing.hear(state("a", 40, { heldLines: 32 }), at(10));
    pacing.hear(state("b", 3, { heldLines: 3 }), at(10));
    expect(pacing.findWork(5, at(10))).toBeNull();
  });

  test("is sent to nobody in a pause, or who cannot be reached, or is gone", () => {
    const pacing = startTwo();
    pacing.noteUnreachable("a");
    pacing.drop("b");
    expect(pacing.findWork(5, at(10))).toBeNull();
    pacing.hear(state("a", 32, heard({ away: 30 })), at(20));
    expect(pacing.pause).not.toBeNull();
    expect(pacing.findWork(5, at(20))).toBeNull();
  });
});

describe("how often a batch says that nothing has changed", () => {
  test.each([
    ["every 8 s when it is alone", 64, 1, 1000, 8000],
    ["every 8 s when there is room for all", 64, 3, 10, 8000],
    ["every second when others want what it has", 64, 2, 1000, 1000],
    ["every second when the upstream takes less than it is said to", 100, 1, 1000, 1000],
    ["less often when there are many", 64, 400, 10, 2000],
  ])("%s", (_, maxInFlight, batches, lines, ms) => {
    const pacing = startPacing({ maxInFlight });
    for (let index = 0; index < batches; index += 1) pacing.hear(state(`batch-${index}`, lines), at(0));
    expect(pacing.grantTo("batch-0", at(0)).tellEveryMs).toBe(ms);
  });
});

test("those that have said nothing for a time are found, and whoever speaks is not silent", () => {
  const pacing = startPacing({}, { batchIds: ["a", "b"] });
  pacing.hear(state("a", 10), at(5000));
  expect(pacing.findSilent(at(0))).toEqual([]);
  expect(pacing.findSilent(at(1))).toEqual(["b"]);
  expect(pacing.findSilent(at(5001))).toEqual(["a", "b"]);
  expect(pacing.size).toBe(2);
});

test("what a batch said earlier and is heard later changes nothing, but its answers count", () => {
  const pacing = startPacing();
  const late = state("a", 1000, { heldLines: 0, ...heard({ fine: 4, succeeded: 4 }) });
  const grant = tell(pacing, state("a", 1000));
  tell(pacing, state("b", 1000));
  const [[, smaller] = ["", null]] = pacing.takeUrgent(at(0), () => false, 32);
  pacing.hear(state("a", 1000, { grant: smaller, heldLines: 64 }), at(0));
  expect(tell(pacing, { ...late, grant }, 100)).toMatchObject({ lines: 32, servedAt: NOON + 100 });
  expect(urgentOf(pacing, 100)).toEqual([]);
});
