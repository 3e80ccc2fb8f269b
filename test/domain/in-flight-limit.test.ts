import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adjustLimit, type InFlightLimit, allowedNow, startLimit } from "../../src/domain/in-flight-limit.ts";
import { Random } from "../support/random.ts";

const now = new Date("2026-10-01T12:00:00Z");

function after(seconds: number): Date {
  return new Date(now.getTime() + seconds * 1000);
}

interface Round {
  readonly shareLines: number;
  /** How many of `lines` the upstream pushed back. */
  readonly pressured: (lines: number) => number;
  readonly at?: Date;
}

/** All lines of a full limit answer, in reports of at most eight, as consumers send them. */
function runRound(limit: InFlightLimit, { shareLines, pressured, at = now }: Round): InFlightLimit {
  let lines = allowedNow(limit, at);
  let pushedBack = pressured(lines);
  let next = limit;
  while (lines > 0) {
    const answers = Math.min(8, lines);
    const part = Math.round((pushedBack * answers) / lines);
    next = adjustLimit(next, { answers, pressured: part, shareLines, now: at });
    lines -= answers;
    pushedBack -= part;
  }
  return next;
}

function runRounds(limit: InFlightLimit, count: number, round: Round): InFlightLimit {
  let next = limit;
  for (let index = 0; index < count; index += 1) next = runRound(next, round);
  return next;
}

const none = () => 0;
const all = (lines: number) => lines;

/** Pushes each line back with this chance. A `Random`, because fast-check's own numbers prefer the extremes. */
function pushBack(chance: number, random: Random): (lines: number) => number {
  return (lines) => Array.from({ length: lines }, () => random.chance(chance)).filter(Boolean).length;
}

describe("startLimit", () => {
  test.each([
    [1, 1],
    [5, 5],
    [64, 64],
    [1000, 64],
  ])("shareLines %i opens %i slots", (shareLines, slots) => {
    expect(allowedNow(startLimit(shareLines), now)).toBe(slots);
  });
});

describe("growing", () => {
  test("doubles every round until it meets the shareLines", () => {
    const sizes = [1, 2, 3, 4, 5].map((rounds) =>
      allowedNow(runRounds(startLimit(1000), rounds, { shareLines: 1000, pressured: none }), now),
    );
    expect(sizes).toEqual([128, 256, 512, 1000, 1000]);
  });

  test("after the first pressure it gains a 32nd of the shareLines a round", () => {
    const shrunk = adjustLimit(startLimit(640), { answers: 40, pressured: 40, shareLines: 640, now });
    expect(shrunk.size).toBe(44);
    expect(runRound(shrunk, { shareLines: 640, pressured: none }).size).toBeCloseTo(44 + 20, -1);
  });

  test("gains the same however its answers are split into reports", () => {
    const shrunk = adjustLimit(startLimit(640), { answers: 40, pressured: 40, shareLines: 640, now });
    const inOne = adjustLimit(shrunk, { answers: 60, pressured: 0, shareLines: 640, now });
    let oneByOne = shrunk;
    for (let index = 0; index < 60; index += 1) {
      oneByOne = adjustLimit(oneByOne, { answers: 1, pressured: 0, shareLines: 640, now });
    }
    expect(oneByOne.size).toBeCloseTo(inOne.size, 0);
  });

  test("keeps what it has learnt when its share becomes smaller, and grows no further", () => {
    const limit = adjustLimit(startLimit(64), { answers: 100, pressured: 0, shareLines: 8, now });
    expect(limit.size).toBe(64);
    expect(adjustLimit(limit, { answers: 100, pressured: 0, shareLines: 80, now }).size).toBe(80);
  });

  test("counts pressure from the share it has, not from what it once had", () => {
    expect(adjustLimit(startLimit(64), { answers: 4, pressured: 4, shareLines: 8, now }).size).toBe(6);
    expect(adjustLimit(startLimit(64), { answers: 5, pressured: 4, shareLines: 8, now }).size).toBeLessThan(7);
  });

  test("does not forget it while it waits for its turn", () => {
    const limit = adjustLimit(startLimit(64), { answers: 20, pressured: 1, shareLines: 0, now });
    expect(limit.size).toBeGreaterThan(60);
  });

  test("takes some thirty rounds from one slot to the shareLines, however large that is, and fewer to a small one", () => {
    const steady: InFlightLimit = { ...startLimit(1), phase: "steady" };
    for (const [shareLines, least] of [
      [5, 14],
      [64, 25],
      [640, 25],
    ] as const) {
      let limit = steady;
      let rounds = 0;
      for (; allowedNow(limit, now) < shareLines && rounds < 100; rounds += 1) {
        limit = runRound(limit, { shareLines, pressured: none });
      }
      expect(rounds).toBeGreaterThan(least);
      expect(rounds).toBeLessThan(50);
    }
  });
});

describe("shrinking", () => {
  test("a round of nothing but pressure halves it", () => {
    expect(runRound(startLimit(64), { shareLines: 64, pressured: all }).size).toBe(32);
  });

  test("is down to one slot after six rounds of it", () => {
    expect(runRounds(startLimit(64), 6, { shareLines: 64, pressured: all }).size).toBe(1);
  });

  const ROUNDS = 400;

  test("3 % of pressure keeps at least 80 % of the shareLines", () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 1000 }), fc.integer(), (shareLines, seed) => {
        const round = { shareLines, pressured: pushBack(0.03, new Random(seed)) };
        let limit = runRounds(startLimit(shareLines), 60, round);
        let slots = 0;
        for (let index = 0; index < ROUNDS; index += 1) {
          limit = runRound(limit, round);
          slots += allowedNow(limit, now);
        }
        expect(slots / ROUNDS).toBeGreaterThanOrEqual(shareLines * 0.8);
      }),
      { numRuns: 50 },
    );
  });
});

describe("pausing", () => {
  const closed: InFlightLimit = { size: 1, phase: "steady", pausedUntil: null, pauseSeconds: 0 };

  test("pauses 1 s to 60 s, doubling, with one line to probe in between", () => {
    const pauses: number[] = [];
    let limit = closed;
    let at = now;
    for (let index = 0; index < 9; index += 1) {
      limit = adjustLimit(limit, { answers: 1, pressured: 1, shareLines: 64, now: at });
      pauses.push(limit.pauseSeconds);
      expect(allowedNow(limit, at)).toBe(0);
      at = new Date(at.getTime() + limit.pauseSeconds * 1000);
      expect(allowedNow(limit, at)).toBe(1);
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
  });

  test("lines that were still in flight do not lengthen a pause", () => {
    const paused = adjustLimit(closed, { answers: 3, pressured: 3, shareLines: 64, now });
    expect(adjustLimit(paused, { answers: 20, pressured: 20, shareLines: 64, now: after(0.5) })).toEqual(paused);
  });

  test("one good answer ends it", () => {
    const paused = adjustLimit(closed, { answers: 1, pressured: 1, shareLines: 64, now });
    const reopened = adjustLimit(paused, { answers: 1, pressured: 0, shareLines: 64, now: after(0.5) });
    expect(reopened).toMatchObject({ pausedUntil: null, pauseSeconds: 0 });
    expect(allowedNow(reopened, after(0.5))).toBeGreaterThanOrEqual(1);
  });

  test("a limit that is not at one slot yet shrinks instead", () => {
    expect(
      adjustLimit({ ...closed, size: 1.5 }, { answers: 1, pressured: 1, shareLines: 64, now }).pausedUntil,
    ).toBeNull();
  });

  test.each([[8], [64], [1000]])(
    "is back at 90 %% of a shareLines of %i within 40 rounds after an outage",
    (shareLines) => {
      let limit = startLimit(shareLines);
      let at = now;
      for (let index = 0; index < 60; index += 1) {
        limit = runRound(limit, { shareLines, pressured: all, at });
        at = new Date(Math.max(at.getTime() + 1000, limit.pausedUntil?.getTime() ?? 0));
      }
      expect(allowedNow(limit, at)).toBe(1);
      expect(allowedNow(runRounds(limit, 40, { shareLines, pressured: none, at }), at)).toBeGreaterThanOrEqual(
        shareLines * 0.9,
      );
    },
  );
});

interface Upstream {
  readonly capacity: number;
  readonly shareLines: number;
  readonly random: Random;
}

/** The upstream takes `capacity` lines a round and pushes back the rest, whoever they belong to. */
function share(
  limits: readonly InFlightLimit[],
  { capacity, shareLines, random }: Upstream,
  at: Date,
): InFlightLimit[] {
  let inFlight = 0;
  for (const limit of limits) inFlight += allowedNow(limit, at);
  const pressured = pushBack(Math.max(0, 1 - capacity / inFlight), random);
  return limits.map((limit) => runRound(limit, { shareLines, pressured, at }));
}

test("two limits on a limited upstream converge to within a factor of two, wherever they start", () => {
  const chance = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(
      fc.integer({ min: 64, max: 512 }),
      fc.tuple(chance, chance),
      fc.integer(),
      (shareLines, chances, seed) => {
        const upstream = { shareLines, capacity: shareLines * (0.2 + chances[0]), random: new Random(seed) };
        const steady = { phase: "steady", pausedUntil: null, pauseSeconds: 0 } as const;
        let limits: readonly InFlightLimit[] = [
          { ...steady, size: shareLines },
          { ...steady, size: Math.max(1, shareLines * chances[1]) },
        ];
        const sums = [0, 0];
        for (let round = 0; round < 300; round += 1) {
          limits = share(limits, upstream, after(round));
          for (const [index, limit] of limits.entries()) {
            sums[index] = (sums[index] ?? 0) + (round < 200 ? 0 : limit.size);
          }
        }
        expect(Math.max(...sums) / Math.min(...sums)).toBeLessThan(2);
      },
    ),
    { numRuns: 50 },
  );
});

test("whatever is reported, the limit stays between one slot and what it may grow to, and pauses are bounded", () => {
  const report = fc.record({
    answers: fc.integer({ min: 0, max: 500 }),
    pressure: fc.constantFrom(0, 0.01, 0.5, 1),
    shareLines: fc.integer({ min: 1, max: 500 }),
    seconds: fc.integer({ min: 0, max: 100 }),
  });
  fc.assert(
    fc.property(fc.array(report), (reports) => {
      let limit = startLimit(64);
      let at = now;
      for (const { answers, pressure, shareLines, seconds } of reports) {
        at = new Date(at.getTime() + seconds * 1000);
        const pressured = Math.floor(answers * pressure);
        const most = pressured > 0 ? shareLines : Math.max(shareLines, limit.size);
        limit = adjustLimit(limit, { answers, pressured, shareLines, now: at });
        expect(limit.size).toBeGreaterThanOrEqual(1);
        expect(limit.size).toBeLessThanOrEqual(most);
        expect(allowedNow(limit, new Date(at.getTime() + 60_000))).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});
