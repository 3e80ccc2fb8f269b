import { describe, expect, test } from "vitest";
import type { Trouble } from "../../src/domain/answer-class.ts";
import {
  type AnswersHeard,
  type Breaker,
  CLOSED,
  hear,
  isProbeDue,
  isRefusedForGood,
  isStumbleFinal,
  joinHeard,
  NOTHING_HEARD,
  observeAnswers,
  type Pause,
  unhear,
} from "../../src/domain/breaker.ts";
import { type Answer, noAnswer } from "../../src/domain/outcome.ts";

const noon = new Date("2026-10-01T12:00:00Z");
const MINUTE_MS = 60_000;
const context = { linesInFlight: 64, hasServed: true, now: noon };

function at(ms: number): Date {
  return new Date(noon.getTime() + ms);
}

function heard(counts: Partial<AnswersHeard>): AnswersHeard {
  return { ...NOTHING_HEARD, ...counts };
}

describe("a closed breaker opens", () => {
  test.each<[Trouble, number, boolean]>([
    ["busy", 19, false],
    ["busy", 20, true],
    ["away", 19, false],
    ["away", 20, true],
    ["stumble", 19, false],
    ["stumble", 20, true],
    ["refused", 19, false],
    ["refused", 20, true],
  ])("after %s answers: %i of them: %s", (trouble, answers, opens) => {
    const { pause } = observeAnswers(CLOSED, heard({ [trouble]: answers }), context);
    expect(pause?.reason ?? null).toBe(opens ? trouble : null);
  });

  test("when the answers come in several reports", () => {
    let breaker: Breaker = CLOSED;
    for (let report = 0; report < 3; report += 1) breaker = observeAnswers(breaker, heard({ away: 5 }), context);
    expect(breaker.pause).toBeNull();
    expect(observeAnswers(breaker, heard({ busy: 4, away: 1 }), context).pause?.reason).toBe("away");
  });

  test.each([
    [3, 2, false],
    [3, 3, true],
    [1, 1, true],
  ])("with %i lines in flight, after %i answers: %s", (linesInFlight, away, opens) => {
    expect(observeAnswers(CLOSED, heard({ away }), { ...context, linesInFlight }).pause !== null).toBe(opens);
  });

  test.each([
    [2, false, false],
    [3, false, true],
    [3, true, false],
  ])("after %i refusals, some line served: %s: %s", (refused, hasServed, opens) => {
    expect(observeAnswers(CLOSED, heard({ refused }), { ...context, hasServed }).pause !== null).toBe(opens);
  });

  test("not while anything is fine, and then it counts anew", () => {
    let breaker = observeAnswers(CLOSED, heard({ away: 19 }), context);
    breaker = observeAnswers(breaker, heard({ away: 30, fine: 1 }), context);
    expect(breaker).toEqual(CLOSED);
    expect(observeAnswers(breaker, heard({ away: 19 }), context).pause).toBeNull();
  });

  test("not by a report without answers", () => {
    expect(observeAnswers(CLOSED, NOTHING_HEARD, { ...context, linesInFlight: 0 })).toBe(CLOSED);
  });
});

describe("a pause", () => {
  const opened = (counts: Partial<AnswersHeard>) => observeAnswers(CLOSED, heard(counts), context);

  /** Seconds to each probe, when none of them brings anything fine. */
  function probe(counts: Partial<AnswersHeard>, probes: number): readonly (number | undefined)[] {
    let breaker = opened(Object.fromEntries(Object.entries(counts).map(([name]) => [name, 20])));
    return Array.from({ length: probes }, () => {
      const seconds = breaker.pause?.seconds;
      const now = new Date(breaker.pause?.probeAt ?? 0);
      breaker = observeAnswers(breaker, heard(counts), { ...context, now });
      return seconds;
    });
  }

  test.each<[Partial<AnswersHeard>, readonly number[]]>([
    [{ away: 1 }, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]],
    [{ busy: 1 }, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]],
    [{ stumble: 1 }, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]],
    [{ refused: 1 }, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]],
  ])("doubles: %j", (counts, seconds) => {
    expect(probe(counts, seconds.length)).toEqual(seconds);
  });

  test("waits as long as it is asked to, for an hour at most", () => {
    expect(opened({ busy: 20, retryAfterSeconds: 30 }).pause?.probeAt).toBe(at(30_000).getTime());
    expect(opened({ busy: 20, retryAfterSeconds: 99_999 }).pause?.probeAt).toBe(at(3_600_000).getTime());
  });

  test("is not lengthened by lines that were in flight when it began", () => {
    const breaker = opened({ away: 20 });
    expect(observeAnswers(breaker, heard({ away: 40 }), { ...context, now: at(999) })).toBe(breaker);
    expect(observeAnswers(breaker, heard({ away: 1 }), { ...context, now: at(1000) })).not.toBe(breaker);
  });

  test("ends with a fine answer, whenever it comes", () => {
    expect(observeAnswers(opened({ away: 20 }), heard({ fine: 1, away: 3 }), context)).toEqual(CLOSED);
  });

  test("remembers since when it lasts, and what was answered last", () => {
    const [first, last] = [
      { code: "a", message: "A." },
      { code: "b", message: "B." },
    ];
    const breaker = opened({ away: 20, failure: first });
    const later = observeAnswers(breaker, heard({ away: 1, failure: last }), { ...context, now: at(1000) });
    expect(later.pause).toMatchObject({ since: noon.getTime(), failure: last, reason: "away" });
  });

  test.each([
    [999, false],
    [1000, true],
  ])("probes after a second: %i ms: %s", (ms, due) => {
    const { pause } = opened({ away: 20 });
    expect(pause !== null && isProbeDue(pause, at(ms))).toBe(due);
  });
});

describe("patience", () => {
  const pause = (reason: Trouble): Pause => ({
    reason,
    failure: null,
    since: noon.getTime(),
    probeAt: noon.getTime(),
    seconds: 60,
  });

  test.each<[Trouble, number, boolean]>([
    ["refused", 10 * MINUTE_MS - 1, false],
    ["refused", 10 * MINUTE_MS, true],
    ["away", 60 * MINUTE_MS, false],
  ])("a guest that is %s for %i ms is refused for good: %s", (reason, ms, expected) => {
    expect(isRefusedForGood(pause(reason), at(ms))).toBe(expected);
  });

  test.each<[Trouble, number, boolean]>([
    ["stumble", 60 * MINUTE_MS - 1, false],
    ["stumble", 60 * MINUTE_MS, true],
    ["away", 120 * MINUTE_MS, false],
  ])("%s for %i ms: it is the lines: %s", (reason, ms, expected) => {
    expect(isStumbleFinal(pause(reason), at(ms))).toBe(expected);
  });

  test("has no end where there is no pause", () => {
    expect([isRefusedForGood(null, noon), isStumbleFinal(null, noon)]).toEqual([false, false]);
  });
});

describe("what is heard", () => {
  const busy = (retryAfterSeconds: number): Answer => ({
    kind: "answered",
    statusCode: 429,
    requestId: null,
    body: "{}",
    failure: { code: "c", message: "m" },
    usage: null,
    retryAfterSeconds,
    rateLimit: null,
  });

  test("counts answers by class, and keeps the last failure and the longest retry-after", () => {
    let all = hear(NOTHING_HEARD, "busy", busy(7));
    all = hear(all, "busy", busy(3));
    all = hear(all, "away", noAnswer("upstream_unreachable"));
    all = hear(all, "fine", { ...busy(0), statusCode: 200, failure: null });
    expect(all).toMatchObject({ busy: 2, away: 1, fine: 1, succeeded: 1, retryAfterSeconds: 7 });
    expect(all.failure?.code).toBe("upstream_unreachable");
  });

  test("what was reported is taken off, and what came meanwhile stays", () => {
    const reported = hear(NOTHING_HEARD, "busy", busy(7));
    const all = hear(reported, "away", noAnswer("upstream_unreachable"));
    expect(unhear(all, reported)).toMatchObject({ busy: 0, away: 1, failure: { code: "upstream_unreachable" } });
    expect(unhear(reported, reported)).toEqual(NOTHING_HEARD);
  });

  test("of two reports is added up: the later failure, the longer retry-after", () => {
    const [first, last] = [
      { code: "a", message: "A." },
      { code: "b", message: "B." },
    ];
    const before = heard({ fine: 1, succeeded: 1, busy: 2, failure: first, retryAfterSeconds: 7 });
    const more = heard({ fine: 1, away: 3, refused: 4, stumble: 5, failure: last, retryAfterSeconds: 3 });
    expect(joinHeard(before, more)).toEqual({
      fine: 2,
      succeeded: 1,
      busy: 2,
      away: 3,
      refused: 4,
      stumble: 5,
      failure: last,
      retryAfterSeconds: 7,
    });
  });

  test("and nothing changes what was heard", () => {
    const before = heard({ busy: 2, failure: { code: "a", message: "A." }, retryAfterSeconds: 7 });
    expect(joinHeard(before, NOTHING_HEARD)).toEqual(before);
    expect(joinHeard(NOTHING_HEARD, before)).toEqual(before);
    expect(joinHeard(NOTHING_HEARD, NOTHING_HEARD)).toEqual(NOTHING_HEARD);
  });
});
