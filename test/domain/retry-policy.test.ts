import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LineHistory } from "../../src/domain/line-history.ts";
import { type Answer, noAnswer, type Outcome } from "../../src/domain/outcome.ts";
import {
  decideRetry,
  MAX_RETRY_AFTER_SECONDS,
  type RetryDecision,
  type UpstreamStanding,
} from "../../src/domain/retry-policy.ts";

const now = new Date("2026-10-01T12:00:00Z");
const TOMORROW_SECONDS = 86_400;

function answered(statusCode: number, retryAfterSeconds: number | null = null): Answer {
  const failure = statusCode < 300 ? null : { code: "some_code", message: "Some message." };
  const said = { usage: null, retryAfterSeconds, rateLimit: null };
  return { kind: "answered", statusCode, requestId: null, body: "{}", failure, ...said };
}

interface Case {
  readonly outcome: Outcome;
  readonly attempt?: number;
  readonly deadlineSeconds?: number;
  readonly random?: number;
  readonly history?: LineHistory | null;
  readonly standing?: UpstreamStanding;
}

const MAX_ATTEMPTS = 8;
/** Others are served all the time. */
const SERVED: UpstreamStanding = {
  servedAt: now.getTime() - 1,
  hasServed: true,
  isProbe: false,
  isStumbleFinal: false,
};

/** Of a line whose tries all counted, and were answered something else each time. */
function historyBefore(attempt: number): LineHistory | null {
  const failure = { code: "another_code", message: "Another message." };
  return attempt === 1 ? null : { spent: attempt - 2, failedAt: now.getTime() - 1000, repeats: 1, failure };
}

function decide({
  outcome,
  attempt = 1,
  deadlineSeconds = TOMORROW_SECONDS,
  random = 0.5,
  ...more
}: Case): RetryDecision {
  const { history = historyBefore(attempt), standing = SERVED } = more;
  return decideRetry({
    outcome,
    attempt,
    history,
    standing,
    startedAt: now,
    now,
    deadline: after(deadlineSeconds),
    random,
  });
}

function after(seconds: number): Date {
  return new Date(now.getTime() + seconds * 1000);
}

/** Seconds until the retry; null when the line settles. */
function delayOf(decision: RetryDecision): number | null {
  return decision.kind === "retry" ? (decision.at.getTime() - now.getTime()) / 1000 : null;
}

const unreachable = noAnswer("upstream_unreachable");
const timeout = noAnswer("request_timeout");
const tooLarge = noAnswer("response_too_large");

describe("decideRetry, outcome by attempt: delays in seconds when chance is in the middle", () => {
  test.each<[string, Outcome, Record<number, number | null>]>([
    ["200", answered(200), { 1: null }],
    ["200 that is not JSON", { ...answered(200), failure: { code: "c", message: "m" } }, { 1: null }],
    ["302", answered(302), { 1: null }],
    ["400", answered(400), { 1: null }],
    ["400 with retry-after", answered(400, 5), { 1: null }],
    ["401", answered(401), { 1: 0.75, 2: 4.5, 3: null }],
    ["402", answered(402), { 1: 0.75, 3: null }],
    ["403", answered(403), { 1: 0.75, 3: null }],
    ["404", answered(404), { 1: null }],
    ["413", answered(413), { 1: null }],
    ["422", answered(422), { 1: null }],
    ["an answer too large", tooLarge, { 1: null }],
    ["408", answered(408), { 1: 0.5, 2: 1, 7: 32, 8: null }],
    ["409", answered(409), { 1: 0.5, 2: 1, 7: 32, 8: null }],
    ["500", answered(500), { 1: 0.5, 2: 1, 3: 2, 7: 32, 8: null, 9: null }],
    ["501", answered(501), { 1: null }],
    ["a timeout", timeout, { 1: 0.5, 7: 32, 8: null }],
    ["502", answered(502), { 1: 0.75, 2: 5.25, 3: 36.75, 4: 225, 7: 225, 8: null }],
    ["503", answered(503), { 1: 0.75, 7: 225, 8: null }],
    ["504", answered(504), { 1: 0.75, 7: 225, 8: null }],
    ["522", answered(522), { 1: 0.75, 7: 225, 8: null }],
    ["529", answered(529), { 1: 0.75, 7: 225, 8: null }],
    ["530", answered(530), { 1: 0.75, 7: 225, 8: null }],
    ["an upstream out of reach", unreachable, { 1: 0.75, 2: 5.25, 7: 225, 8: null }],
    ["429", answered(429), { 1: 0.5, 2: 1, 6: 16, 7: 30, 8: 30, 29: 30, 30: null }],
    ["503 with retry-after", answered(503, 10), { 1: 10.5, 8: 10.5, 29: 10.5, 30: null }],
    ["529 with retry-after", answered(529, 10), { 1: 10.5, 8: 10.5 }],
    ["429 with retry-after", answered(429, 10), { 1: 10.5, 8: 10.5, 29: 10.5, 30: null }],
    ["429 with a retry-after of a minute", answered(429, 60), { 1: 63 }],
    ["429 with a retry-after of an hour", answered(429, 3600), { 1: 3780 }],
    ["429 with a retry-after of a month", answered(429, 30 * 86_400), { 1: 3780 }],
    ["429 with a tiny retry-after", answered(429, 0.02), { 1: 0.52 }],
    ["429 with a retry-after of zero", answered(429, 0), { 1: 0.5, 2: 1 }],
    ["500 with a long retry-after", answered(500, 20), { 1: 21, 7: 32, 8: null }],
  ])("%s", (_, outcome, delays) => {
    for (const [attempt, delaySeconds] of Object.entries(delays)) {
      expect(delayOf(decide({ outcome, attempt: Number(attempt) }))).toBe(delaySeconds);
    }
  });
});

describe("decideRetry, by deadline", () => {
  test.each([
    ["500", answered(500), 0.501, 0.5],
    ["500", answered(500), 0.5, null],
    ["500", answered(500), 0, null],
    ["500", answered(500), -60, null],
    ["429", answered(429), 0.501, 0.5],
    ["429", answered(429), 0.5, null],
    ["429 with retry-after", answered(429, 10), 10.501, 10.5],
    ["429 with retry-after", answered(429, 10), 10.5, null],
    ["429 with a retry-after of an hour", answered(429, 3600), 3600, null],
    ["an upstream out of reach", unreachable, 0.75, null],
  ] satisfies [string, Outcome, number, number | null][])(
    "%s, %#: window ends in %s s",
    (_, outcome, deadlineSeconds, delaySeconds) => {
      expect(delayOf(decide({ outcome, deadlineSeconds }))).toBe(delaySeconds);
    },
  );
});

describe("decideRetry, by what is known of the upstream", () => {
  const failure = { code: "some_code", message: "Some message." };
  const failedBefore = (spent: number, repeats: number): LineHistory => ({
    spent,
    repeats,
    failure,
    failedAt: now.getTime() - 1000,
  });
  const unserved: UpstreamStanding = { ...SERVED, servedAt: null, hasServed: false };
  const kindOf = (each: Case) => decide(each).kind;

  test("a line is tried for as long as nobody is served", () => {
    for (const outcome of [answered(401), answered(500), answered(502), unreachable, timeout]) {
      expect(kindOf({ outcome, attempt: 500, history: failedBefore(0, 500), standing: unserved })).toBe("retry");
    }
  });

  test.each([
    [1, 1, "retry"],
    [1, 2, "settle"],
    [0, 50, "retry"],
    [2, 2, "settle"],
  ] as const)("500, after %i tries that counted and %i equal answers: %s", (spent, repeats, kind) => {
    const standing = spent === 0 ? unserved : { ...SERVED, servedAt: null };
    expect(kindOf({ outcome: answered(500), history: failedBefore(spent, repeats), standing })).toBe(kind);
  });

  test("the third equal 500 settles while others succeed, the second does not", () => {
    expect(kindOf({ outcome: answered(500), history: failedBefore(0, 1) })).toBe("retry");
    expect(kindOf({ outcome: answered(500), history: failedBefore(1, 2) })).toBe("settle");
  });

  test("a 404 is final once any line has succeeded", () => {
    expect(kindOf({ outcome: answered(404), standing: unserved })).toBe("retry");
    expect(kindOf({ outcome: answered(404) })).toBe("settle");
  });

  test("what the upstream stumbles over is final after its patience", () => {
    const standing = { ...unserved, isStumbleFinal: true };
    expect(kindOf({ outcome: answered(500), standing })).toBe("settle");
    expect(kindOf({ outcome: answered(502), standing })).toBe("retry");
  });

  test("a retry carries what the line has gone through", () => {
    const decision = decide({ outcome: answered(500), history: failedBefore(1, 1), standing: SERVED });
    expect(decision).toMatchObject({ kind: "retry", history: { spent: 2, repeats: 2, failure } });
  });
});

const anyOutcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.constantFrom(unreachable, timeout, tooLarge),
  fc
    .tuple(
      fc.integer({ min: 200, max: 599 }),
      fc.option(fc.oneof(fc.constantFrom(0, 1, 3600, 1e12), fc.double({ min: 0, max: 7200, noNaN: true }))),
    )
    .map(([status, retryAfterSeconds]) => answered(status, retryAfterSeconds)),
);
const anyCase = fc.record({
  outcome: anyOutcome,
  attempt: fc.integer({ min: 1, max: 20_000 }),
  deadlineSeconds: fc.integer({ min: -10, max: TOMORROW_SECONDS }),
  random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
});

describe("whatever the outcome, attempt, deadline and chance", () => {
  test("a retry stands after now, before the deadline and within the caps", () => {
    fc.assert(
      fc.property(anyCase, (each) => {
        const delaySeconds = delayOf(decide(each));
        if (delaySeconds === null) return;
        expect(delaySeconds).toBeGreaterThan(0);
        expect(delaySeconds).toBeLessThan(each.deadlineSeconds);
        expect(delaySeconds).toBeLessThanOrEqual(MAX_RETRY_AFTER_SECONDS * 1.1);
      }),
      { numRuns: 2000 },
    );
  });

  test("a retry is never earlier than the upstream asked, up to an hour", () => {
    fc.assert(
      fc.property(anyCase, (each) => {
        const delaySeconds = delayOf(decide(each));
        const asked = each.outcome.kind === "answered" ? (each.outcome.retryAfterSeconds ?? 0) : 0;
        if (delaySeconds !== null) {
          expect(delaySeconds).toBeGreaterThanOrEqual(Math.min(asked, MAX_RETRY_AFTER_SECONDS));
        }
      }),
    );
  });

  test("a line that may not be tried again settles at every later attempt too", () => {
    fc.assert(
      fc.property(anyCase, (each) => {
        if (each.attempt < MAX_ATTEMPTS && decide({ ...each, deadlineSeconds: TOMORROW_SECONDS }).kind === "settle") {
          expect(decide({ ...each, attempt: each.attempt + 1 }).kind).toBe("settle");
        }
      }),
    );
  });

  test("delays do not shrink from one attempt to the next under the same chance", () => {
    fc.assert(
      fc.property(anyCase, ({ outcome, attempt, random }) => {
        const delaySeconds = delayOf(decide({ outcome, attempt, random }));
        const nextSeconds = delayOf(decide({ outcome, attempt: attempt + 1, random }));
        expect(nextSeconds ?? Number.POSITIVE_INFINITY).toBeGreaterThanOrEqual(delaySeconds ?? 0);
      }),
    );
  });

  test.each([
    ["a line that stumbles settles within about two minutes", answered(500), 0, 127],
    ["a line outlives an outage of ten minutes", unreachable, 600, 1260],
    ["so it does behind a gateway", answered(502), 600, 1260],
  ])("%s", (_, outcome, leastSeconds, mostSeconds) => {
    const chances = fc.array(
      anyCase.map(({ random }) => random),
      { minLength: MAX_ATTEMPTS, maxLength: MAX_ATTEMPTS },
    );
    fc.assert(
      fc.property(chances, (randoms) => {
        let seconds = 0;
        for (const [index, random] of randoms.entries()) {
          seconds += delayOf(decide({ outcome, attempt: index + 1, random })) ?? 0;
        }
        expect(seconds).toBeGreaterThanOrEqual(leastSeconds);
        expect(seconds).toBeLessThanOrEqual(mostSeconds + 1);
      }),
    );
  });
});
