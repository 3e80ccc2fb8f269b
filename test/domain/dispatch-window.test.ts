import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adjustWindow, type DispatchWindow, openSlots, startWindow } from "../../src/domain/dispatch-window.ts";

const now = new Date("2026-10-01T12:00:00Z");

function after(seconds: number): Date {
  return new Date(now.getTime() + seconds * 1000);
}

interface Round {
  readonly cap: number;
  /** Which of so many lines the upstream pushed back. */
  readonly pressured: (lines: number) => number;
  readonly at?: Date;
}

/** All lines of a full window answer, in reports of at most eight, as consumers send them. */
function runRound(window: DispatchWindow, { cap, pressured, at = now }: Round): DispatchWindow {
  let lines = openSlots(window, at);
  let pushedBack = pressured(lines);
  let next = window;
  while (lines > 0) {
    const answers = Math.min(8, lines);
    const part = Math.round((pushedBack * answers) / lines);
    next = adjustWindow(next, { answers, pressured: part, cap, now: at });
    lines -= answers;
    pushedBack -= part;
  }
  return next;
}

function runRounds(window: DispatchWindow, count: number, round: Round): DispatchWindow {
  let next = window;
  for (let index = 0; index < count; index += 1) next = runRound(next, round);
  return next;
}

const none = () => 0;
const all = (lines: number) => lines;

/** Uniform in [0, 1), the same for the same seed (mulberry32): fast-check's own numbers prefer the extremes. */
function makeDice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Pushes each line back with this chance. */
function pushBack(chance: number, dice: () => number): (lines: number) => number {
  return (lines) => Array.from({ length: lines }, dice).filter((roll) => roll < chance).length;
}

describe("startWindow", () => {
  test.each([
    [1, 1],
    [5, 5],
    [64, 64],
    [1000, 64],
  ])("cap %i opens %i slots", (cap, slots) => {
    expect(openSlots(startWindow(cap), now)).toBe(slots);
  });
});

describe("growing", () => {
  test("doubles every round until it meets the cap", () => {
    const sizes = [1, 2, 3, 4, 5].map((rounds) =>
      openSlots(runRounds(startWindow(1000), rounds, { cap: 1000, pressured: none }), now),
    );
    expect(sizes).toEqual([128, 256, 512, 1000, 1000]);
  });

  test("after the first pressure it gains a 32nd of the cap a round", () => {
    const shrunk = adjustWindow(startWindow(640), { answers: 40, pressured: 40, cap: 640, now });
    expect(shrunk.size).toBe(44);
    expect(runRound(shrunk, { cap: 640, pressured: none }).size).toBeCloseTo(44 + 20, -1);
  });

  test("gains the same however its answers are split into reports", () => {
    const shrunk = adjustWindow(startWindow(640), { answers: 40, pressured: 40, cap: 640, now });
    const inOne = adjustWindow(shrunk, { answers: 60, pressured: 0, cap: 640, now });
    let oneByOne = shrunk;
    for (let index = 0; index < 60; index += 1) {
      oneByOne = adjustWindow(oneByOne, { answers: 1, pressured: 0, cap: 640, now });
    }
    expect(oneByOne.size).toBeCloseTo(inOne.size, 0);
  });

  test("keeps what it has learnt when its share becomes smaller, and grows no further", () => {
    const window = adjustWindow(startWindow(64), { answers: 100, pressured: 0, cap: 8, now });
    expect(window.size).toBe(64);
    expect(adjustWindow(window, { answers: 100, pressured: 0, cap: 80, now }).size).toBe(80);
  });

  test("counts pressure from the share it has, not from what it once had", () => {
    expect(adjustWindow(startWindow(64), { answers: 4, pressured: 4, cap: 8, now }).size).toBe(6);
    expect(adjustWindow(startWindow(64), { answers: 5, pressured: 4, cap: 8, now }).size).toBeLessThan(7);
  });

  test("does not forget it while it waits for its turn", () => {
    const window = adjustWindow(startWindow(64), { answers: 20, pressured: 1, cap: 0, now });
    expect(window.size).toBeGreaterThan(60);
  });

  test("takes some thirty rounds from one slot to the cap, however large that is, and fewer to a small one", () => {
    const steady: DispatchWindow = { ...startWindow(1), phase: "steady" };
    for (const [cap, least] of [
      [5, 14],
      [64, 25],
      [640, 25],
    ] as const) {
      let window = steady;
      let rounds = 0;
      for (; openSlots(window, now) < cap && rounds < 100; rounds += 1) {
        window = runRound(window, { cap, pressured: none });
      }
      expect(rounds).toBeGreaterThan(least);
      expect(rounds).toBeLessThan(50);
    }
  });
});

describe("shrinking", () => {
  test("a round of nothing but pressure halves it", () => {
    expect(runRound(startWindow(64), { cap: 64, pressured: all }).size).toBe(32);
  });

  test("is down to one slot after six rounds of it", () => {
    expect(runRounds(startWindow(64), 6, { cap: 64, pressured: all }).size).toBe(1);
  });

  const ROUNDS = 400;

  test("3 % of pressure keeps at least 80 % of the cap", () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 1000 }), fc.integer(), (cap, seed) => {
        const round = { cap, pressured: pushBack(0.03, makeDice(seed)) };
        let window = runRounds(startWindow(cap), 60, round);
        let slots = 0;
        for (let index = 0; index < ROUNDS; index += 1) {
          window = runRound(window, round);
          slots += openSlots(window, now);
        }
        expect(slots / ROUNDS).toBeGreaterThanOrEqual(cap * 0.8);
      }),
      { numRuns: 50 },
    );
  });
});

describe("pausing", () => {
  const closed: DispatchWindow = { size: 1, phase: "steady", pausedUntil: null, pauseSeconds: 0 };

  test("pauses 1 s to 60 s, doubling, with one line to probe in between", () => {
    const pauses: number[] = [];
    let window = closed;
    let at = now;
    for (let index = 0; index < 9; index += 1) {
      window = adjustWindow(window, { answers: 1, pressured: 1, cap: 64, now: at });
      pauses.push(window.pauseSeconds);
      expect(openSlots(window, at)).toBe(0);
      at = new Date(at.getTime() + window.pauseSeconds * 1000);
      expect(openSlots(window, at)).toBe(1);
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
  });

  test("lines that were still in flight do not lengthen a pause", () => {
    const paused = adjustWindow(closed, { answers: 3, pressured: 3, cap: 64, now });
    expect(adjustWindow(paused, { answers: 20, pressured: 20, cap: 64, now: after(0.5) })).toEqual(paused);
  });

  test("one good answer ends it", () => {
    const paused = adjustWindow(closed, { answers: 1, pressured: 1, cap: 64, now });
    const reopened = adjustWindow(paused, { answers: 1, pressured: 0, cap: 64, now: after(0.5) });
    expect(reopened).toMatchObject({ pausedUntil: null, pauseSeconds: 0 });
    expect(openSlots(reopened, after(0.5))).toBeGreaterThanOrEqual(1);
  });

  test("a window that is not at one slot yet shrinks instead", () => {
    expect(adjustWindow({ ...closed, size: 1.5 }, { answers: 1, pressured: 1, cap: 64, now }).pausedUntil).toBeNull();
  });

  test.each([[8], [64], [1000]])("is back at 90 %% of a cap of %i within 40 rounds after an outage", (cap) => {
    let window = startWindow(cap);
    let at = now;
    for (let index = 0; index < 60; index += 1) {
      window = runRound(window, { cap, pressured: all, at });
      at = new Date(Math.max(at.getTime() + 1000, window.pausedUntil?.getTime() ?? 0));
    }
    expect(openSlots(window, at)).toBe(1);
    expect(openSlots(runRounds(window, 40, { cap, pressured: none, at }), at)).toBeGreaterThanOrEqual(cap * 0.9);
  });
});

interface Upstream {
  readonly capacity: number;
  readonly cap: number;
  readonly dice: () => number;
}

/** The upstream takes `capacity` lines a round and pushes back the rest, whoever they belong to. */
function share(windows: readonly DispatchWindow[], { capacity, cap, dice }: Upstream, at: Date): DispatchWindow[] {
  let inFlight = 0;
  for (const window of windows) inFlight += openSlots(window, at);
  const pressured = pushBack(Math.max(0, 1 - capacity / inFlight), dice);
  return windows.map((window) => runRound(window, { cap, pressured, at }));
}

test("two windows on a limited upstream converge to within a factor of two, wherever they start", () => {
  const chance = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 64, max: 512 }), fc.tuple(chance, chance), fc.integer(), (cap, chances, seed) => {
      const upstream = { cap, capacity: cap * (0.2 + chances[0]), dice: makeDice(seed) };
      const steady = { phase: "steady", pausedUntil: null, pauseSeconds: 0 } as const;
      let windows: readonly DispatchWindow[] = [
        { ...steady, size: cap },
        { ...steady, size: Math.max(1, cap * chances[1]) },
      ];
      const sums = [0, 0];
      for (let round = 0; round < 300; round += 1) {
        windows = share(windows, upstream, after(round));
        for (const [index, window] of windows.entries()) {
          sums[index] = (sums[index] ?? 0) + (round < 200 ? 0 : window.size);
        }
      }
      expect(Math.max(...sums) / Math.min(...sums)).toBeLessThan(2);
    }),
    { numRuns: 50 },
  );
});

test("whatever is reported, the window stays between one slot and what it may grow to, and pauses are bounded", () => {
  const report = fc.record({
    answers: fc.integer({ min: 0, max: 500 }),
    pressure: fc.constantFrom(0, 0.01, 0.5, 1),
    cap: fc.integer({ min: 1, max: 500 }),
    seconds: fc.integer({ min: 0, max: 100 }),
  });
  fc.assert(
    fc.property(fc.array(report), (reports) => {
      let window = startWindow(64);
      let at = now;
      for (const { answers, pressure, cap, seconds } of reports) {
        at = new Date(at.getTime() + seconds * 1000);
        const pressured = Math.floor(answers * pressure);
        const most = pressured > 0 ? cap : Math.max(cap, window.size);
        window = adjustWindow(window, { answers, pressured, cap, now: at });
        expect(window.size).toBeGreaterThanOrEqual(1);
        expect(window.size).toBeLessThanOrEqual(most);
        expect(openSlots(window, new Date(at.getTime() + 60_000))).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});
