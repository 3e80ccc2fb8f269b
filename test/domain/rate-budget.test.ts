import { describe, expect, test } from "vitest";
import type { Quota } from "../../src/domain/rate-limit.ts";
import {
  correctTokens,
  debitLines,
  giveLinesBack,
  hearRateLimit,
  holdBudget,
  nextStartAt,
  type RateBudget,
  type RateLimits,
  roomOf,
  startBudget,
  takeLines,
} from "../../src/domain/rate-budget.ts";
import { Random } from "../support/random.ts";

const MINUTE = 60_000;
const START = 1_790_000_000_000;

interface Start {
  readonly at: number;
  readonly lines: number;
  readonly tokens: number;
}

/**
 * The most and the least of any minute, by the minutes that end with a start: with it, and just before it without it. The
 * first three minutes do not count for the least.
 */
function extremes(starts: readonly Start[], kind: "lines" | "tokens") {
  let most = 0;
  let least = Number.POSITIVE_INFINITY;
  let sum = 0;
  let first = 0;
  let firstBefore = 0;
  let sumBefore = 0;
  for (const start of starts) {
    for (; (starts[firstBefore]?.at ?? 0) < start.at - MINUTE; firstBefore += 1) {
      sumBefore -= starts[firstBefore]?.[kind] ?? 0;
    }
    if (start.at > START + 3 * MINUTE) least = Math.min(least, sumBefore);
    sum += start[kind];
    sumBefore += start[kind];
    for (; (starts[first]?.at ?? 0) <= start.at - MINUTE; first += 1) sum -= starts[first]?.[kind] ?? 0;
    most = Math.max(most, sum);
  }
  return { most, least };
}

interface Run {
  readonly limits: RateLimits;
  readonly seed: number;
  readonly takers: number;
  readonly minutes: number;
  /** Of the line's true cost, what is estimated; and the cost itself. */
  readonly tokens: (random: Random) => { readonly estimate: number; readonly used: number };
  readonly restartsAt?: number;
}

/** Takers that always want more ask about once a second; answers come after up to half a minute. */
function run({ limits, seed, takers, minutes, tokens, restartsAt }: Run): readonly Start[] {
  const random = new Random(seed);
  const asks = Array.from({ length: takers }, () => START + random.between(0, 1000));
  const answers: { at: number; reserved: number; used: number }[] = [];
  const starts: Start[] = [];
  let budget = startBudget(limits, START);
  let hasRestarted = false;
  for (;;) {
    const now = Math.min(...asks);
    const taker = asks.indexOf(now);
    if (now > START + minutes * MINUTE) return starts;
    if (restartsAt !== undefined && !hasRestarted && now >= restartsAt) {
      hasRestarted = true;
      budget = startBudget(limits, now);
    }
    for (const answer of answers.splice(0)) {
      if (answer.at > now) answers.push(answer);
      else budget = correctTokens(budget, limits, answer);
    }
    const { estimate, used } = tokens(random);
    const taken = takeLines(budget, limits, {
      taker: String(taker),
      lines: random.between(1, 100_000),
      tokensPerLine: estimate,
      now,
    });
    budget = random.chance(0.02) ? store(taken.budget) : taken.budget;
    if (taken.lines > 0) {
      starts.push({ at: now, lines: taken.lines, tokens: taken.lines * used });
      answers.push({
        at: now + random.between(200, 30_000),
        reserved: taken.lines * estimate,
        used: taken.lines * used,
      });
    }
    asks[taker] = now + random.between(600, 1400);
  }
}

/** And reads it back. */
function store(budget: RateBudget): RateBudget {
  const stored = JSON.stringify(budget);
  return JSON.parse(stored) as RateBudget;
}

const noTokens = () => ({ estimate: 0, used: 0 });
const SEEDS = [1, 2, 3, 4, 5];

describe("in any minute, with takers that always want more", () => {
  test.each([1, 2, 3, 7, 10, 19, 20, 45, 60, 500, 3000, 100_000])("%i requests", (limit) => {
    for (const seed of SEEDS) {
      const takers = 1 + (seed % 4) * 3;
      const limits = { requests: limit, tokens: null };
      const starts = run({ limits, seed, takers, minutes: 12, tokens: noTokens });
      const { most, least } = extremes(starts, "lines");
      expect(most, `most, seed ${seed}`).toBeLessThanOrEqual(limit * 1.05);
      // A line more or less falls into a minute or beside it.
      expect(least, `least, seed ${seed}`).toBeGreaterThanOrEqual(Math.floor(limit * 0.95) - 1);
      const all = starts.reduce((sum, { lines }) => sum + lines, 0);
      expect(all, `in all, seed ${seed}`).toBeGreaterThanOrEqual(Math.floor(limit * 12 * 0.95) - 1);
    }
  });

  test.each([
    [10_000, 5, 80],
    [300_000, 200, 3000],
    [30_000_000, 100, 50_000],
  ])("%i tokens, of lines that cost from %i to %i", (limit, cheapest, dearest) => {
    for (const seed of SEEDS) {
      const limits = { requests: null, tokens: limit };
      const tokens = (random: Random) => {
        const used = random.between(cheapest, dearest);
        return { estimate: Math.max(1, Math.round(used * (0.9 + random.next() * 0.2))), used };
      };
      const starts = run({ limits, seed, takers: 5, minutes: 12, tokens });
      const { most, least } = extremes(starts, "tokens");
      expect(most, `most, seed ${seed}`).toBeLessThanOrEqual(limit * 1.05);
      expect(least, `least, seed ${seed}`).toBeGreaterThanOrEqual(limit * 0.95 - dearest);
    }
  });

  test("both at once: the tighter one counts", () => {
    const tokens = () => ({ estimate: 100, used: 100 });
    for (const [limits, most] of [
      [{ requests: 60, tokens: 60_000 }, 63],
      [{ requests: 6000, tokens: 60_000 }, 630],
    ] as const) {
      const starts = run({ limits, seed: 9, takers: 4, minutes: 6, tokens });
      const found = extremes(starts, "lines");
      expect(found.most).toBeLessThanOrEqual(most);
      expect(found.least).toBeGreaterThanOrEqual(Math.floor((most / 1.05) * 0.95) - 1);
    }
  });

  test.each([0.3, 0.8, 1.2])("an estimate of %d times the cost ends in the same number of tokens", (factor) => {
    const limits = { requests: null, tokens: 600_000 };
    const tokens = () => ({ estimate: 1000 * factor, used: 1000 });
    const starts = run({ limits, seed: 3, takers: 3, minutes: 20, tokens });
    const late = starts.filter(({ at }) => at > START + 5 * MINUTE).reduce((sum, { lines }) => sum + lines * 1000, 0);
    expect(late / 15).toBeGreaterThan(600_000 * 0.95);
    expect(late / 15).toBeLessThan(600_000 * 1.05);
  });

  test.each([1, 3, 10, 45, 600, 100_000])("%i requests, when the state is lost meanwhile", (limit) => {
    for (const seed of SEEDS) {
      const restartsAt = START + 4 * MINUTE + seed * 7777;
      const limits = { requests: limit, tokens: null };
      const starts = run({ limits, seed, takers: 4, minutes: 8, tokens: noTokens, restartsAt });
      expect(extremes(starts, "lines").most, `seed ${seed}`).toBeLessThanOrEqual(limit * 1.05);
    }
  });
});

/** A budget whose buckets are full, long after its start. */
function full(limits: RateLimits): RateBudget {
  return startBudget(limits, START - 10 * MINUTE);
}

const TOKENS: RateLimits = { requests: null, tokens: 60_000 };
const REQUESTS: RateLimits = { requests: 600, tokens: null };
const NO_LIMITS: RateLimits = { requests: null, tokens: null };

/** Lines of so many tokens are a taker of their own. */
function take(budget: RateBudget, limits: RateLimits, tokensPerLine: number, now: number, lines = 1) {
  return takeLines(budget, limits, { taker: String(tokensPerLine), lines, tokensPerLine, now });
}

function next(budget: RateBudget, limits: RateLimits, tokensPerLine: number, now: number): number {
  return nextStartAt(budget, limits, { taker: String(tokensPerLine), tokensPerLine, now });
}

describe("a line of many tokens", () => {
  test.each([
    [20_000, 18],
    [60_000, 58],
    [200_000, 58],
  ])("of %i starts after %i seconds, of 60,000 a minute", (tokens, seconds) => {
    const asked = take(full(TOKENS), TOKENS, tokens, START);
    expect(asked.lines).toBe(0);
    const at = next(asked.budget, TOKENS, tokens, START);
    expect(Math.round((at - START) / 1000)).toBe(seconds);
    expect(take(asked.budget, TOKENS, tokens, at - 1).lines).toBe(0);
    expect(take(asked.budget, TOKENS, tokens, at).lines).toBe(1);
    // Also when nobody asks meanwhile, and a little late.
    expect(take(asked.budget, TOKENS, tokens, at + 10_000).lines).toBe(1);
  });

  test("is not overtaken by small ones for ever, and lets them on when it has started", () => {
    let budget = full(TOKENS);
    let smallLines = 0;
    let startedAt = 0;
    for (let now = START; startedAt === 0 && now < START + 3 * MINUTE; now += 500) {
      const small = take(budget, TOKENS, 100, now, 50);
      smallLines += small.lines;
      const large = take(small.budget, TOKENS, 30_000, now);
      budget = large.budget;
      if (large.lines === 1) startedAt = now;
    }
    expect(startedAt - START).toBeLessThanOrEqual(MINUTE);
    expect(smallLines).toBeGreaterThan(0);
    const at = next(budget, TOKENS, 100, startedAt);
    expect(at).toBeLessThanOrEqual(startedAt + 1000);
    expect(take(budget, TOKENS, 100, at).lines).toBe(1);
  });

  test("that is asked for no more keeps the others waiting until three seconds after its time", () => {
    const { budget } = take(full(TOKENS), TOKENS, 20_000, START);
    const at = next(budget, TOKENS, 100, START);
    expect(Math.round((at - START) / 1000)).toBe(21);
    expect(take(budget, TOKENS, 100, at - 1).lines).toBe(0);
    expect(take(budget, TOKENS, 100, at).lines).toBe(1);
  });

  test("of more than a minute's tokens is paid for by the minutes after it", () => {
    const asked = take(full(TOKENS), TOKENS, 180_000, START);
    const at = next(asked.budget, TOKENS, 180_000, START);
    const { budget, lines } = take(asked.budget, TOKENS, 180_000, at);
    expect(lines).toBe(1);
    expect(next(budget, TOKENS, 100, at) - at).toBeCloseTo(120_100, -1);
  });
});

describe("what was started without asking", () => {
  test("delays what follows", () => {
    const budget = debitLines(full(REQUESTS), REQUESTS, { lines: 41, tokensPerLine: 0, now: START });
    expect(roomOf(budget, REQUESTS, START).requests).toBeCloseTo(21 - 41);
    expect(next(budget, REQUESTS, 0, START)).toBe(START + 2100);
  });

  test("given back, it may be started by others", () => {
    const taken = take(full(REQUESTS), REQUESTS, 10, START, 100);
    expect(taken.lines).toBe(21);
    const budget = giveLinesBack(taken.budget, REQUESTS, { lines: 20, tokensPerLine: 10 });
    expect(take(budget, REQUESTS, 10, START, 100).lines).toBe(20);
    const kinds = budget.window.map(({ requests, tokens, reserved }) => [requests, tokens, reserved]);
    expect(kinds).toEqual([[1, 10, 10]]);
  });
});

test("the next start is the first moment at which a line gets through, to the millisecond", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = new Random(seed);
    const limits = { requests: random.between(1, 300), tokens: random.between(100, 100_000) };
    const tokensPerLine = random.between(1, 3000);
    let budget = startBudget(limits, START);
    let now = START;
    for (let round = 0; round < 30; round += 1) {
      let taken = take(budget, limits, tokensPerLine, now, random.between(1, 20));
      // It asks until it has to wait.
      while (taken.lines > 0) taken = take(taken.budget, limits, tokensPerLine, now, 20);
      const at = next(taken.budget, limits, tokensPerLine, now);
      expect(take(taken.budget, limits, tokensPerLine, at - 2).lines, `seed ${seed}`).toBe(0);
      expect(take(taken.budget, limits, tokensPerLine, at).lines, `seed ${seed}`).toBe(1);
      budget = taken.budget;
      now += random.between(1, 5000);
    }
  }
});

describe("without limits", () => {
  test("everything may start at once, and does not count against limits that are set later", () => {
    const taken = take(startBudget(NO_LIMITS, START), NO_LIMITS, 500, START, 100_000);
    expect(taken.lines).toBe(100_000);
    const corrected = correctTokens(taken.budget, NO_LIMITS, { reserved: 50_000_000, used: 90_000_000 });
    const limits = { requests: 60, tokens: 6_000_000 };
    const at = next(corrected, limits, 10, START);
    // But for the last minute, which held more than they allow.
    expect(at).toBe(START + MINUTE);
  });
});

function hear(budget: RateBudget, quota: Partial<Quota>, { sentAt = START, answeredAt = START } = {}): RateBudget {
  return hearRateLimit(budget, {
    requests: { limit: null, remaining: null, resetSeconds: null, ...quota },
    tokens: null,
    sentAt: new Date(sentAt),
    answeredAt: new Date(answeredAt),
  });
}

describe("what an answer says of the upstream's own limit", () => {
  test("counts until its reset where it says less", () => {
    const budget = hear(full(REQUESTS), { limit: 100, remaining: 3, resetSeconds: 20 });
    const taken = take(budget, REQUESTS, 0, START, 50);
    expect(taken.lines).toBe(3);
    expect(next(taken.budget, REQUESTS, 0, START)).toBe(START + 20_000);
    expect(take(taken.budget, REQUESTS, 0, START + 19_999, 50).lines).toBe(0);
    expect(take(taken.budget, REQUESTS, 0, START + 20_000, 50).lines).toBe(21);
  });

  test("does not count where it says more, or all, or nothing of what remains", () => {
    for (const quota of [
      { limit: 5000, remaining: 4999, resetSeconds: 0.012 },
      { limit: 10, remaining: 10, resetSeconds: 30 },
      { limit: 10, remaining: null },
    ]) {
      expect(take(hear(full(REQUESTS), quota), REQUESTS, 0, START, 50).lines).toBe(21);
    }
  });

  test("counts without a budget, too", () => {
    expect(take(hear(full(NO_LIMITS), { remaining: 7 }), NO_LIMITS, 0, START, 50).lines).toBe(7);
  });

  test("without a reset it counts for ten seconds", () => {
    const { budget } = take(hear(full(REQUESTS), { remaining: 0 }), REQUESTS, 0, START);
    expect(next(budget, REQUESTS, 0, START)).toBe(START + 10_000);
  });

  test("and no reset counts for more than an hour", () => {
    const budget = hear(full(REQUESTS), { limit: 9, remaining: 0, resetSeconds: 99_999_999 });
    expect(next(budget, REQUESTS, 0, START)).toBe(START + 3_600_000);
  });

  test("fills up steadily where its reset shows that the server's does: within a minute, or a day", () => {
    const aMinute = hear(full(REQUESTS), { limit: 120, remaining: 0, resetSeconds: 60 });
    expect(next(aMinute, REQUESTS, 0, START)).toBe(START + 500);
    expect(take(aMinute, REQUESTS, 0, START + 10_000, 50).lines).toBe(20);
    const aDay = hear(full(REQUESTS), { limit: 14_400, remaining: 0, resetSeconds: 86_400 });
    expect(next(aDay, REQUESTS, 0, START)).toBe(START + 6000);
  });

  test("what was started since its request counts against it", () => {
    const started = take(full(REQUESTS), REQUESTS, 0, START, 5).budget;
    const heard = hear(started, { limit: 100, remaining: 7, resetSeconds: 30 }, { sentAt: START - 2000 });
    expect(roomOf(heard, REQUESTS, START).requests).toBe(2);
  });

  test("an older answer that is heard later says nothing", () => {
    const newer = hear(full(REQUESTS), { remaining: 3, resetSeconds: 20 }, { sentAt: START });
    const both = hear(newer, { remaining: 0, resetSeconds: 20 }, { sentAt: START - 1 });
    expect(both).toEqual(newer);
  });

  test("a line of more tokens than it takes in a period starts when all of it is there", () => {
    const quota: Quota = { limit: 6000, remaining: 3000, resetSeconds: 30 };
    const seen = { requests: null, tokens: quota, sentAt: new Date(START), answeredAt: new Date(START) };
    const budget = hearRateLimit(full(NO_LIMITS), seen);
    expect(next(budget, NO_LIMITS, 9000, START)).toBe(START + 30_000);
    expect(take(budget, NO_LIMITS, 4000, START, 9).lines).toBe(0);
    expect(take(budget, NO_LIMITS, 3000, START, 9).lines).toBe(1);
  });
});

test("nothing starts while the upstream wants to be left alone", () => {
  const held = holdBudget(holdBudget(full(REQUESTS), new Date(START + 5000)), new Date(START + 3000));
  expect(roomOf(held, REQUESTS, START)).toEqual({ requests: 0, tokens: 0 });
  expect(take(held, REQUESTS, 0, START + 4999).lines).toBe(0);
  expect(next(held, REQUESTS, 0, START)).toBe(START + 5000);
  expect(take(held, REQUESTS, 0, START + 5000, 50).lines).toBe(21);
});

test("a clock that goes back fills no bucket twice", () => {
  const { budget, lines } = take(full(REQUESTS), REQUESTS, 0, START, 100);
  expect(lines).toBe(21);
  const back = take(budget, REQUESTS, 0, START - 30_000, 100);
  expect(back.lines).toBe(0);
  expect(take(back.budget, REQUESTS, 0, START + 100, 100).lines).toBe(1);
});

test("the state of a busy minute is small", () => {
  const limits = { requests: 100_000, tokens: 100_000_000 };
  let budget = startBudget(limits, START);
  for (let now = START; now < START + 3 * MINUTE; now += 100) {
    budget = take(budget, limits, 777, now, 100_000).budget;
  }
  expect(budget.window.length).toBeLessThanOrEqual(61);
  expect(JSON.stringify(budget).length).toBeLessThan(8000);
});
