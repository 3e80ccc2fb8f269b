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
  readonly mostLines: number;
  /** How many of `lines` the upstream pushed back. */
  readonly pressured: (lines: number) => number;
  readonly isUsed?: boolean;
}

/** All lines of a full limit answer, in reports of at most eight, as consumers send them. */
function runRound(limit: InFlightLimit, { mostLines, pressured, isUsed = true }: Round): InFlightLimit {
  let lines = allowedBy(limit);
  let pushedBack = pressured(lines);
  let next = limit;
  while (lines > 0) {
    const answers = Math.min(8, lines);
    const part = Math.round((pushedBack * answers) / lines);
    next = adjustLimit(next, { fine: answers - part, pressured: part, mostLines, isUsed });
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

/** Rounds until at least `lines` are allowed; 1000 when they never are. */
function countRounds(limit: InFlightLimit, lines: number, round: Round): number {
  let next = limit;
  for (let rounds = 0; rounds < 1000; rounds += 1) {
    if (allowedBy(next) >= lines) return rounds;
    next = runRound(next, round);
  }
  return 1000;
}

const none = () => 0;
const all = (lines: number) => lines;

/** The upstream takes `capacity` lines at once, and pushes back the rest. */
function beyond(capacity: number): (lines: number) => number {
  return (lines) => Math.max(0, lines - capacity);
}

/** Pushes each line back with this chance. A `Random`, because fast-check's own numbers prefer the extremes. */
function pushBack(chance: number, random: Random): (lines: number) => number {
  return (lines) => Array.from({ length: lines }, () => random.chance(chance)).filter(Boolean).length;
}

function steady(size: number): InFlightLimit {
  return { size, doublesUntil: 0 };
}

describe("startLimit", () => {
  test.each([
    [1, 1],
    [5, 5],
    [64, 64],
    [1000, 64],
    [0, 1],
  ])("max_in_flight %i: begins with %i lines", (mostLines, lines) => {
    expect(allowedBy(startLimit(mostLines))).toBe(lines);
  });
});

describe("growing", () => {
  test("doubles every round until it meets max_in_flight", () => {
    const sizes = [1, 2, 3, 4, 5].map((rounds) =>
      allowedBy(runRounds(startLimit(1000), rounds, { mostLines: 1000, pressured: none })),
    );
    expect(sizes).toEqual([128, 256, 512, 1000, 1000]);
  });

  test.each([
    [100, 1],
    [1000, 4],
    [1250, 5],
    [5000, 7],
  ])("takes from 64 to a capacity of %i lines %i rounds", (capacity, rounds) => {
    expect(countRounds(startLimit(5000), capacity, { mostLines: 5000, pressured: beyond(capacity) })).toBe(rounds);
  });

  test.each([
    ["a hundredth", 200, 2],
    ["a quarter of a line at least", 10, 0.25],
    ["a quarter, where it is one line", 1, 0.25],
  ])("gains in a round, after the first pressure, %s", (_, size, gain) => {
    const grown = adjustLimit(steady(size), { fine: size, pressured: 0, mostLines: 1000, isUsed: true });
    expect(grown.size - size).toBeCloseTo(gain, 5);
  });

  test("gains the same however its answers are split into reports", () => {
    const inOne = adjustLimit(steady(100), { fine: 60, pressured: 0, mostLines: 1000, isUsed: true });
    let oneByOne = steady(100);
    for (let index = 0; index < 60; index += 1) {
      oneByOne = adjustLimit(oneByOne, { fine: 1, pressured: 0, mostLines: 1000, isUsed: true });
    }
    expect(oneByOne.size).toBeCloseTo(inOne.size, 1);
  });

  test.each([
    ["when it was not used", { fine: 100, pressured: 0, isUsed: false }],
    ["when nothing was answered", { fine: 0, pressured: 0, isUsed: true }],
  ])("does not grow %s", (_, answers) => {
    for (const limit of [startLimit(1000), steady(64)]) {
      expect(adjustLimit(limit, { ...answers, mostLines: 1000 })).toEqual(limit);
    }
  });

  test("comes down to a max_in_flight that was made smaller", () => {
    expect(adjustLimit(startLimit(64), { fine: 0, pressured: 0, mostLines: 8, isUsed: false }).size).toBe(8);
  });

  test("regains what was lost to a short burst within a hundred rounds", () => {
    const shrunk = runRound(startLimit(64), { mostLines: 64, pressured: all });
    expect(countRounds(shrunk, 64, { mostLines: 64, pressured: none })).toBeLessThanOrEqual(130);
  });
});

describe("shrinking", () => {
  test("a round of nothing but pressure halves it", () => {
    expect(runRound(startLimit(64), { mostLines: 64, pressured: all }).size).toBe(32);
  });

  test("also when it was not used", () => {
    expect(runRound(startLimit(64), { mostLines: 64, pressured: all, isUsed: false }).size).toBe(32);
  });

  test("is down to one line after six rounds of it", () => {
    expect(runRounds(startLimit(64), 6, { mostLines: 64, pressured: all }).size).toBe(1);
  });

  test("the first pressure ends the doubling", () => {
    const met = adjustLimit(startLimit(1000), { fine: 63, pressured: 1, mostLines: 1000, isUsed: true });
    expect(met.size).toBeLessThan(65);
    expect(runRound(met, { mostLines: 1000, pressured: none }).size).toBeLessThan(66);
  });

  test("1 % of pressure by chance keeps at least 80 % of max_in_flight", () => {
    fc.assert(
      fc.property(fc.integer({ min: 16, max: 1000 }), fc.integer(), (mostLines, seed) => {
        const round = { mostLines, pressured: pushBack(0.01, new Random(seed)) };
        let limit = runRounds(steady(mostLines), 60, round);
        let lines = 0;
        const rounds = 200;
        for (let index = 0; index < rounds; index += 1) {
          limit = runRound(limit, round);
          lines += allowedBy(limit);
        }
        expect(lines / rounds).toBeGreaterThanOrEqual(mostLines * 0.8);
      }),
      { numRuns: 30 },
    );
  });
});

describe("at an upstream that takes less than it is said to", () => {
  interface Balance {
    /** Of all answers. */
    readonly pressured: number;
    /** Lines in flight of what the upstream takes. */
    readonly used: number;
  }

  function balance(capacity: number, mostLines: number): Balance {
    let limit = runRounds(startLimit(mostLines), 300, { mostLines, pressured: beyond(capacity) });
    let [answers, pressured, served] = [0, 0, 0];
    for (let round = 0; round < 500; round += 1) {
      const lines = allowedBy(limit);
      answers += lines;
      pressured += Math.max(0, lines - capacity);
      served += Math.min(lines, capacity);
      limit = runRound(limit, { mostLines, pressured: beyond(capacity) });
    }
    return { pressured: pressured / answers, used: served / (500 * capacity) };
  }

  test.each([[40], [80], [400], [1000]])(
    "of %i lines, at most 3 in 100 are pushed back, and hardly any are idle",
    (lines) => {
      const { pressured, used } = balance(lines, 1250);
      expect(pressured).toBeLessThanOrEqual(0.03);
      expect(used).toBeGreaterThanOrEqual(0.97);
    },
  );

  test.each([[4], [10], [20]])(
    "of only %i lines, at most 10 in 100 are pushed back: the steps are whole lines",
    (lines) => {
      const { pressured, used } = balance(lines, 64);
      expect(pressured).toBeLessThanOrEqual(0.1);
      expect(used).toBeGreaterThanOrEqual(0.9);
    },
  );

  test("it follows to what it takes next, be that less or more", () => {
    const round = (capacity: number) => ({ mostLines: 1250, pressured: beyond(capacity) });
    const first = runRounds(startLimit(1250), 100, round(800));
    const less = runRounds(first, 10, round(400));
    expect(allowedBy(less)).toBeLessThan(400 * 1.1);
    expect(countRounds(less, 800, round(800))).toBeLessThan(80);
  });
});

describe("after a pause", () => {
  test("it begins with one line, doubles to three quarters of what it was, and then grows by steps", () => {
    const restarted = restartLimit(steady(64));
    const sizes = [0, 1, 2, 3, 4, 5, 6].map((rounds) =>
      allowedBy(runRounds(restarted, rounds, { mostLines: 64, pressured: none })),
    );
    expect(sizes).toEqual([1, 2, 4, 8, 16, 32, 48]);
    expect(runRounds(restarted, 10, { mostLines: 64, pressured: none }).size).toBeLessThan(51);
  });

  test.each([
    [8, 3],
    [64, 6],
    [1000, 10],
    [5000, 12],
  ])("of %i lines, three quarters are back in %i rounds", (size, rounds) => {
    const restarted = restartLimit(steady(size));
    expect(countRounds(restarted, size * 0.75, { mostLines: size, pressured: none })).toBe(rounds);
  });
});

test("whatever is heard, the limit stays between one line and max_in_flight, and grows by no more than the fine answers", () => {
  const report = fc.record({
    fine: fc.nat(500),
    pressured: fc.oneof(fc.constant(0), fc.nat(500)),
    mostLines: fc.integer({ min: 1, max: 500 }),
    isUsed: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), fc.array(report), (first, reports) => {
      let limit = startLimit(first);
      for (const answers of reports) {
        const before = limit;
        limit = adjustLimit(before, answers);
        expect(limit.size).toBeGreaterThanOrEqual(1);
        expect(limit.size).toBeLessThanOrEqual(answers.mostLines);
        expect(limit.size).toBeLessThanOrEqual(before.size + answers.fine);
        if (!answers.isUsed) expect(limit.size).toBeLessThanOrEqual(before.size);
        expect(allowedBy(limit)).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});
