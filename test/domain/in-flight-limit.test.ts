import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  adjustLimit,
  allowedBy,
  type InFlightLimit,
  restartLimit,
  startLimit,
} from "../../src/domain/in-flight-limit.ts";
import { Random } from "../support/random.ts";

interface Round {
  readonly shareLines: number;
  /** How many of `lines` the upstream pushed back. */
  readonly pressured: (lines: number) => number;
}

/** All lines of a full limit answer, in reports of at most eight, as consumers send them. */
function runRound(limit: InFlightLimit, { shareLines, pressured }: Round): InFlightLimit {
  let lines = allowedBy(limit);
  let pushedBack = pressured(lines);
  let next = limit;
  while (lines > 0) {
    const answers = Math.min(8, lines);
    const part = Math.round((pushedBack * answers) / lines);
    next = adjustLimit(next, { answers, pressured: part, shareLines });
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
    expect(allowedBy(startLimit(shareLines))).toBe(slots);
  });
});

describe("growing", () => {
  test("doubles every round until it meets the shareLines", () => {
    const sizes = [1, 2, 3, 4, 5].map((rounds) =>
      allowedBy(runRounds(startLimit(1000), rounds, { shareLines: 1000, pressured: none })),
    );
    expect(sizes).toEqual([128, 256, 512, 1000, 1000]);
  });

  test("after the first pressure it gains a 32nd of the shareLines a round", () => {
    const shrunk = adjustLimit(startLimit(640), { answers: 40, pressured: 40, shareLines: 640 });
    expect(shrunk.size).toBe(44);
    expect(runRound(shrunk, { shareLines: 640, pressured: none }).size).toBeCloseTo(44 + 20, -1);
  });

  test("gains the same however its answers are split into reports", () => {
    const shrunk = adjustLimit(startLimit(640), { answers: 40, pressured: 40, shareLines: 640 });
    const inOne = adjustLimit(shrunk, { answers: 60, pressured: 0, shareLines: 640 });
    let oneByOne = shrunk;
    for (let index = 0; index < 60; index += 1) {
      oneByOne = adjustLimit(oneByOne, { answers: 1, pressured: 0, shareLines: 640 });
    }
    expect(oneByOne.size).toBeCloseTo(inOne.size, 0);
  });

  test("keeps what it has learnt when its share becomes smaller, and grows no further", () => {
    const limit = adjustLimit(startLimit(64), { answers: 100, pressured: 0, shareLines: 8 });
    expect(limit.size).toBe(64);
    expect(adjustLimit(limit, { answers: 100, pressured: 0, shareLines: 80 }).size).toBe(80);
  });

  test("counts pressure from the share it has, not from what it once had", () => {
    expect(adjustLimit(startLimit(64), { answers: 4, pressured: 4, shareLines: 8 }).size).toBe(6);
    expect(adjustLimit(startLimit(64), { answers: 5, pressured: 4, shareLines: 8 }).size).toBeLessThan(7);
  });

  test("does not forget it while it waits for its turn", () => {
    const limit = adjustLimit(startLimit(64), { answers: 20, pressured: 1, shareLines: 0 });
    expect(limit.size).toBeGreaterThan(60);
  });

  test("takes some thirty rounds from one slot to the shareLines, however large that is, and fewer to a small one", () => {
    const steady: InFlightLimit = { ...startLimit(1), doublesUntil: 0 };
    for (const [shareLines, least] of [
      [5, 14],
      [64, 25],
      [640, 25],
    ] as const) {
      let limit = steady;
      let rounds = 0;
      for (; allowedBy(limit) < shareLines && rounds < 100; rounds += 1) {
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
          slots += allowedBy(limit);
        }
        expect(slots / ROUNDS).toBeGreaterThanOrEqual(shareLines * 0.8);
      }),
      { numRuns: 50 },
    );
  });
});

describe("after a pause", () => {
  test("it begins with one line, doubles to half of what it was, and then grows by steps", () => {
    const restarted = restartLimit({ size: 64, doublesUntil: 0 });
    const sizes = [0, 1, 2, 3, 4, 5].map((rounds) =>
      allowedBy(runRounds(restarted, rounds, { shareLines: 64, pressured: none })),
    );
    expect(sizes).toEqual([1, 2, 4, 8, 16, 32]);
    expect(runRounds(restarted, 6, { shareLines: 64, pressured: none }).size).toBeCloseTo(34, 0);
  });

  test.each([[8], [64], [1000]])("is back at 90 %% of a share of %i within 40 rounds", (shareLines) => {
    const restarted = restartLimit(startLimit(shareLines));
    expect(allowedBy(runRounds(restarted, 40, { shareLines, pressured: none }))).toBeGreaterThanOrEqual(
      Math.min(64, shareLines) * 0.9,
    );
  });
});

interface Upstream {
  readonly capacity: number;
  readonly shareLines: number;
  readonly random: Random;
}

/** The upstream takes `capacity` lines a round and pushes back the rest, whoever they belong to. */
function share(limits: readonly InFlightLimit[], { capacity, shareLines, random }: Upstream): InFlightLimit[] {
  let inFlight = 0;
  for (const limit of limits) inFlight += allowedBy(limit);
  const pressured = pushBack(Math.max(0, 1 - capacity / inFlight), random);
  return limits.map((limit) => runRound(limit, { shareLines, pressured }));
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
        const steady = { doublesUntil: 0 } as const;
        let limits: readonly InFlightLimit[] = [
          { ...steady, size: shareLines },
          { ...steady, size: Math.max(1, shareLines * chances[1]) },
        ];
        const sums = [0, 0];
        for (let round = 0; round < 300; round += 1) {
          limits = share(limits, upstream);
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

test("whatever is reported, the limit stays between one slot and what it may grow to", () => {
  const report = fc.record({
    answers: fc.integer({ min: 0, max: 500 }),
    pressure: fc.constantFrom(0, 0.01, 0.5, 1),
    shareLines: fc.integer({ min: 1, max: 500 }),
  });
  fc.assert(
    fc.property(fc.array(report), (reports) => {
      let limit = startLimit(64);
      for (const { answers, pressure, shareLines } of reports) {
        const pressured = Math.floor(answers * pressure);
        const most = pressured > 0 ? shareLines : Math.max(shareLines, limit.size);
        limit = adjustLimit(limit, { answers, pressured, shareLines });
        expect(limit.size).toBeGreaterThanOrEqual(1);
        expect(limit.size).toBeLessThanOrEqual(most);
        expect(allowedBy(limit)).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});
