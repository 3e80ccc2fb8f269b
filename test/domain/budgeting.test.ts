import { describe, expect, test } from "vitest";
import { Budgeting } from "../../src/domain/budgeting.ts";
import type { BudgetLoad } from "../../src/domain/grant.ts";
import type { RateLimits } from "../../src/domain/rate-budget.ts";
import type { Quota } from "../../src/domain/rate-limit.ts";
import { NO_LIMITS, NOTHING_BEGUN } from "../support/no-budget.ts";

const START = 1_700_000_000_000;
const SIXTY: RateLimits = { requests: 60, tokens: null };
const WANTS_FIVE = { ...NOTHING_BEGUN, wantedStarts: 5 };
/** Of tests in which nobody looks at the lines in flight. */
const LINES_IN_FLIGHT = 8;

/** One pacer, asked as src/domain/pacing.ts does. */
class Asked {
  readonly limits: RateLimits;
  readonly budgeting: Budgeting;

  constructor(limits: RateLimits, memory: Budgeting["memory"] | null = null, startedAtSeconds = 0) {
    this.limits = limits;
    this.budgeting = new Budgeting(limits, memory, at(startedAtSeconds));
  }

  /** @returns what the batch may have begun. */
  tell(seconds: number, load: Partial<BudgetLoad>, { batchId = "a", isNew = false } = {}): number | null {
    const now = at(seconds);
    const context = { limits: this.limits, linesInFlight: LINES_IN_FLIGHT, now };
    this.budgeting.hear(batchId, { ...NOTHING_BEGUN, ...load }, { isNew, limits: this.limits, now });
    this.budgeting.allow(batchId, context);
    return this.budgeting.allowedTo(batchId, context);
  }
}

function at(seconds: number): Date {
  return new Date(START + seconds * 1000);
}

function seen(seconds: number, requests: Partial<Quota>): BudgetLoad["rateLimit"] {
  const quota = { limit: null, remaining: null, resetSeconds: null, ...requests };
  return { requests: quota, tokens: null, sentAt: at(seconds), answeredAt: at(seconds) };
}

describe("where nothing limits", () => {
  test("a batch may begin as many as it likes", () => {
    expect(new Asked(NO_LIMITS).tell(10, WANTS_FIVE)).toBeNull();
  });

  test("a batch of which nothing was heard may, too", () => {
    const context = { limits: SIXTY, linesInFlight: LINES_IN_FLIGHT, now: at(0) };
    expect(new Budgeting(SIXTY, null, at(0)).allowedTo("unknown", context)).toBeNull();
  });
});

describe("a limit", () => {
  test("is told as the sum of all that was allowed", () => {
    const asked = new Asked(SIXTY);
    expect([10, 12, 14].map((seconds) => asked.tell(seconds, { begun: 0, wantedStarts: 2 }))).toEqual([2, 4, 6]);
  });

  test.each<[string, number, number]>([
    ["nothing is wanted", 0, 0],
    ["less is wanted than there is", 1, 1],
    ["more is wanted than there is: two seconds' worth, and one", 50, 3],
  ])("where %s", (_, wantedStarts, allowed) => {
    expect(new Asked(SIXTY).tell(10, { wantedStarts })).toBe(allowed);
  });

  test("is shared by batches, and each has its own sum", () => {
    const asked = new Asked(SIXTY);
    expect(asked.tell(10, { wantedStarts: 2 }, { batchId: "a" })).toBe(2);
    expect(asked.tell(10, { wantedStarts: 2 }, { batchId: "b" })).toBe(1);
    expect(asked.tell(10, { wantedStarts: 0, begun: 2 }, { batchId: "a" })).toBe(2);
  });

  test("whose answer was lost, or comes again, allows nothing twice", () => {
    const asked = new Asked(SIXTY);
    const context = { limits: SIXTY, linesInFlight: LINES_IN_FLIGHT, now: at(10) };
    expect(asked.tell(10, { wantedStarts: 2 })).toBe(2);
    asked.budgeting.allow("a", context);
    expect(asked.budgeting.allowedTo("a", context)).toBe(2);
    // It says the same again, because it heard nothing: it hears of what it was allowed, and of what has come since.
    expect(asked.tell(11, { wantedStarts: 2 })).toBe(4);
    expect(asked.tell(12, { wantedStarts: 0, begun: 4 })).toBe(4);
  });

  test("counts what was begun unasked", () => {
    const asked = new Asked(SIXTY);
    expect(asked.tell(10, { wantedStarts: 1 })).toBe(1);
    expect(asked.tell(11, { begun: 3, wantedStarts: 0 })).toBe(3);
    expect(asked.tell(11, { begun: 3, wantedStarts: 9 })).toBe(4);
  });

  test("holds for a minute as a whole", () => {
    const asked = new Asked(SIXTY);
    let last = 0;
    for (let seconds = 0; seconds < 120; seconds += 1) {
      last = asked.tell(seconds, { begun: last, wantedStarts: 40 }) ?? Infinity;
      if (seconds === 59) expect(last).toBeLessThanOrEqual(63);
    }
    expect(last).toBeGreaterThanOrEqual(114);
    expect(last).toBeLessThanOrEqual(126);
  });

  test("of tokens takes what answers cost for what was expected", () => {
    const asked = new Asked({ requests: null, tokens: 6000 });
    // Two seconds' worth, of lines that are expected to cost 100.
    expect(asked.tell(10, { wantedStarts: 9, tokensPerLine: 100 })).toBe(2);
    // They cost half: the rest is there for another.
    const answers = { answersWithUsage: 2, tokens: 100, tokensPerLine: 100 };
    expect(asked.tell(10, { begun: 2, wantedStarts: 9, ...answers })).toBe(3);
  });
});

describe("after a restart", () => {
  test("a coordinator starts at nothing", () => {
    const asked = new Asked(SIXTY);
    expect(asked.tell(10, { wantedStarts: 2 })).toBe(2);
    expect(asked.tell(10, { wantedStarts: 0, begun: 0 }, { isNew: true })).toBe(0);
    expect(asked.tell(12, { wantedStarts: 2, begun: 0 }, { isNew: true })).toBe(2);
  });

  test("a pacer knows what it allowed, and takes nothing of an earlier life for allowed in this one", () => {
    const earlier = new Asked(SIXTY);
    expect(earlier.tell(10, { wantedStarts: 3 })).toBe(3);
    const asked = new Asked(SIXTY, earlier.budgeting.memory, 10);
    expect(asked.tell(10, { begun: 500, wantedStarts: 5 }, { isNew: true })).toBe(0);
    expect(asked.tell(11, { begun: 500, wantedStarts: 5 }, { isNew: true })).toBe(1);
  });

  test("without what was stored, a pacer begins with nothing to give", () => {
    expect(new Asked(SIXTY).tell(0, WANTS_FIVE)).toBe(0);
  });
});

describe("a batch that is forgotten", () => {
  test("has no sum any more", () => {
    const asked = new Asked(SIXTY);
    asked.tell(10, { wantedStarts: 2 });
    asked.budgeting.forget("a");
    expect(asked.tell(20, { wantedStarts: 1 }, { isNew: true })).toBe(1);
  });
});

describe("what the upstream says of its own limits", () => {
  test.each<[string, Partial<Quota>, number | null]>([
    ["little is left", { limit: 100, remaining: 3, resetSeconds: 20 }, 3],
    ["nothing is left", { limit: 100, remaining: 0, resetSeconds: 20 }, 0],
    ["little is left, and of what nobody knows", { remaining: 2 }, 2],
    ["ample is left", { limit: 10_000, remaining: 9000, resetSeconds: 20 }, null],
    ["all is left", { limit: 3, remaining: 3, resetSeconds: 20 }, null],
  ])("%s", (_, quota, allowed) => {
    expect(new Asked(NO_LIMITS).tell(10, { ...WANTS_FIVE, rateLimit: seen(10, quota) })).toBe(allowed);
  });

  test("is over with its time", () => {
    const asked = new Asked(NO_LIMITS);
    expect(asked.tell(10, { ...WANTS_FIVE, rateLimit: seen(10, { limit: 100, remaining: 1, resetSeconds: 20 }) })).toBe(
      1,
    );
    expect(asked.tell(29, { ...WANTS_FIVE, begun: 1 })).toBe(1);
    expect(asked.tell(30, { ...WANTS_FIVE, begun: 1 })).toBeNull();
  });

  test("counts beside a limit of the settings where it says less", () => {
    const rateLimit = seen(10, { limit: 100, remaining: 1, resetSeconds: 20 });
    expect(new Asked(SIXTY).tell(10, { ...WANTS_FIVE, rateLimit })).toBe(1);
  });
});

test("nothing is allowed before the upstream's patience is back", () => {
  const asked = new Asked(SIXTY);
  asked.budgeting.hold(at(20));
  expect([10, 19.9, 20].map((seconds) => asked.tell(seconds, WANTS_FIVE))).toEqual([0, 0, 3]);
});
