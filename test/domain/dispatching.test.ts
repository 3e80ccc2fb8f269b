import { describe, expect, test } from "vitest";
import { NOTHING_HEARD, type Pause } from "../../src/domain/breaker.ts";
import { Dispatches } from "../../src/domain/dispatches.ts";
import { Dispatching, type UpstreamRoom } from "../../src/domain/dispatching.ts";
import { Ledger } from "../../src/domain/ledger.ts";

const noon = new Date("2026-10-01T12:00:00Z");
const PAUSE: Pause = { reason: "away", failure: null, since: 0, probeAt: noon.getTime(), seconds: 1 };
const ROOM: UpstreamRoom = {
  lines: 20,
  linesPerInvocation: 5,
  mostDispatches: 240,
  pause: null,
  servedAt: null,
  isRoomWanted: false,
  mayHaveBegun: null,
};

interface Work {
  readonly dispatching: Dispatching;
  readonly dispatches: Dispatches;
}

/** A batch of slices of one line, whose dispatches are in the queue. */
function start(lines: number, tokens: readonly string[], room: Partial<UpstreamRoom> = {}): Work {
  const states = Array.from({ length: lines }, (_, index) => ({
    slice: { index, firstLine: index, lineCount: 1, byteStart: index * 10, byteLength: 10 },
    progress: "fresh" as const,
    token: null,
  }));
  const dispatches = new Dispatches([], 5, noon);
  for (const token of tokens) dispatches.send(token, noon);
  const parts = { ledger: new Ledger(states), dispatches };
  return { dispatching: new Dispatching(parts, { ...ROOM, ...room }, { hasServed: false }), dispatches };
}

function claim({ dispatching, dispatches }: Work, token: string): number | null {
  dispatches.claim(token, noon);
  return dispatching.begin(token, noon)?.slots ?? null;
}

/** The consumer says what it has, and hears what it may. */
function report({ dispatching }: Work, token: string, inFlight: number, waiting: number): number | null {
  dispatching.observe({ token, heard: NOTHING_HEARD, inFlight, waiting, wantedStarts: 0 }, noon);
  const reply = dispatching.handOut(token, 0, noon);
  return reply.kind === "run" ? reply.slots : null;
}

describe("what is held", () => {
  test("is what dispatches may have, from when they are told", () => {
    const work = start(100, ["a", "b"]);
    expect(work.dispatching.heldLines).toBe(0);
    expect(claim(work, "a")).toBe(5);
    expect(work.dispatching.heldLines).toBe(5);
    claim(work, "b");
    expect(work.dispatching.heldLines).toBe(10);
  });

  test("is still what a dispatch has in flight when it has been told that it may have less", () => {
    const work = start(100, ["a"]);
    claim(work, "a");
    work.dispatching.setRoom({ ...ROOM, lines: 2 });
    expect(work.dispatching.heldLines).toBe(5);
    expect(report(work, "a", 5, 0)).toBe(2);
    expect(work.dispatching.heldLines).toBe(5);
    report(work, "a", 2, 3);
    expect(work.dispatching.heldLines).toBe(2);
  });

  test("is no more than lines are left with the dispatch", () => {
    const work = start(100, ["a"]);
    claim(work, "a");
    report(work, "a", 1, 0);
    expect(work.dispatching.heldLines).toBe(1);
  });

  test("is never given to two: whoever comes waits until others have heard", () => {
    const work = start(100, ["a", "b"], { lines: 5 });
    expect(claim(work, "a")).toBe(5);
    expect(claim(work, "b")).toBeNull();
  });
});

describe("in a pause", () => {
  test("one dispatch gets one line, where the batch is the one that probes", () => {
    const work = start(100, ["a", "b"], { lines: 1, pause: PAUSE });
    expect(claim(work, "a")).toBe(1);
    expect(claim(work, "b")).toBeNull();
  });

  test("none gets any where it is not", () => {
    expect(claim(start(100, ["a"], { lines: 0, pause: PAUSE }), "a")).toBeNull();
  });
});

describe("after a restart", () => {
  const LINES = 20;

  /** Two dispatches have ten lines each, and were told before that they may have two in flight. */
  function restart(): Work {
    const tokens = ["a", "b"];
    const states = Array.from({ length: LINES }, (_, index) => ({
      slice: { index, firstLine: index, lineCount: 1, byteStart: index * 10, byteLength: 10 },
      progress: "fresh" as const,
      token: tokens[index % 2] ?? null,
    }));
    const stored = tokens.map((token) => ({ token, phase: "working" as const }));
    const dispatches = new Dispatches(stored, 5, noon);
    const dispatching = new Dispatching({ ledger: new Ledger(states), dispatches }, ROOM, { hasServed: false });
    // As src/batch/coordinator.ts does until it has heard of its pacer.
    dispatching.setRoom({ ...ROOM, lines: dispatching.heldLines });
    return { dispatching, dispatches };
  }

  // What each may have is not stored, and taken for as much as a consumer can have: its coordinator asks its pacer first.
  test("a dispatch counts for as much as a consumer can have", () => {
    expect(restart().dispatching.heldLines).toBe(10);
  });
});
