/**
 * What arrives at an upstream with budgets of requests and tokens a minute: no more in any minute than the budget and 5 %, and
 * hardly less where there is enough to do. Whole batches beside each other, on a virtual clock.
 */
import { afterEach, describe, expect, test } from "vitest";
import { clearStores } from "./run-checks.ts";
import type { FaultRule, ScriptedAnswer } from "./scenario.ts";
import { completedLines, evictAt, mostInAMinute, perMinute, playSeveral, type Several } from "./several-batches.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const TEST_TIMEOUT_MS = 5 * MINUTE_MS;
const LINE_TOKENS = 100;
/** In which the upstream that says what it takes counts. */
const LIMIT_WINDOW_MS = 20 * SECOND_MS;
const MAX_OF_LIMIT = 1.05;
const LEAST_OF_LIMIT = 0.95;

afterEach(clearStores);

const PACER_AWAY: FaultRule = {
  where: "coordinator pacer.tell",
  fault: "before",
  when: { kind: "period", fromMs: 70_000, untilMs: 190_000, probability: 1 },
};

interface Case extends Omit<Several, "limitMs"> {
  readonly requestsPerMinute: number;
  /** Between these there is enough to do, and nothing disturbs it. */
  readonly busy: readonly [fromMs: number, untilMs: number] | null;
}

describe("requests a minute, of batches beside each other", () => {
  test.each<[string, Case]>([
    [
      "60 a minute, one batch",
      { requestsPerMinute: 60, scenario: {}, plans: [{ lines: 200 }], busy: [MINUTE_MS, 3 * MINUTE_MS] },
    ],
    [
      "60 a minute, three batches that begin one after the other",
      {
        requestsPerMinute: 60,
        scenario: {},
        plans: [{ lines: 70 }, { lines: 70, beginsAfterMs: 5000 }, { lines: 70, beginsAfterMs: 40_000 }],
        busy: [MINUTE_MS, 3 * MINUTE_MS],
      },
    ],
    [
      "600 a minute, three batches",
      {
        requestsPerMinute: 600,
        scenario: {},
        plans: [{ lines: 700 }, { lines: 700, beginsAfterMs: 5000 }, { lines: 500, beginsAfterMs: 20_000 }],
        busy: [MINUTE_MS, 2.5 * MINUTE_MS],
      },
    ],
    [
      "600 a minute, fast lines and few in flight",
      {
        requestsPerMinute: 600,
        scenario: { maxInFlight: 8 },
        plans: [{ lines: 800 }],
        // It does not reach its budget: a consumer asks for tries once a second, and has few lines to ask for.
        busy: null,
      },
    ],
    [
      "60 a minute, lines that fail once",
      {
        requestsPerMinute: 60,
        scenario: { answerOf: (line, call) => ({ status: line % 3 === 0 && call === 1 ? 500 : 200, delayMs: 300 }) },
        plans: [{ lines: 80 }, { lines: 80 }],
        busy: [MINUTE_MS, 3 * MINUTE_MS],
      },
    ],
    [
      "60 a minute, all objects leave memory in the middle, twice",
      {
        requestsPerMinute: 60,
        scenario: {},
        plans: [{ lines: 90 }, { lines: 90 }],
        busy: null,
        prepare: (run) => {
          evictAt(run, 61_500);
          evictAt(run, 70_300);
        },
      },
    ],
    [
      "600 a minute, all objects leave memory in the middle, twice",
      {
        requestsPerMinute: 600,
        scenario: {},
        plans: [{ lines: 700 }, { lines: 700 }],
        busy: null,
        prepare: (run) => {
          evictAt(run, 61_500);
          evictAt(run, 70_300);
        },
      },
    ],
    [
      "60 a minute, the upstream is away for a minute",
      {
        requestsPerMinute: 60,
        scenario: {
          outageAt: (ms) => (ms >= 30_000 && ms < 90_000 ? { status: 503, delayMs: 100 } : null),
        },
        plans: [{ lines: 60 }, { lines: 60 }],
        busy: null,
      },
    ],
    [
      "60 a minute, the pacer cannot be reached for two minutes",
      {
        requestsPerMinute: 60,
        scenario: { faults: [PACER_AWAY], quietAfterMs: 190_000 },
        plans: [{ lines: 90 }, { lines: 90 }],
        busy: null,
      },
    ],
    [
      "60 a minute, the pacer cannot be reached for two minutes, and all objects leave memory meanwhile",
      {
        requestsPerMinute: 60,
        scenario: { faults: [PACER_AWAY], quietAfterMs: 190_000 },
        plans: [{ lines: 90 }, { lines: 90 }],
        busy: null,
        prepare: (run) => evictAt(run, 80_000),
      },
    ],
  ])(
    "%s",
    async (_, { requestsPerMinute, busy, scenario, ...several }) => {
      const budgets = { requests_per_minute: requestsPerMinute };
      const { broken, clients, arrivals } = await playSeveral({
        ...several,
        scenario: { ...scenario, budgets },
        limitMs: 20 * MINUTE_MS,
      });
      expect(broken.map((rule) => rule.slice(0, 400))).toEqual([]);
      expect(completedLines(clients)).toBe(clients.reduce((sum, { plan }) => sum + plan.lines, 0));
      expect(mostInAMinute(arrivals)).toBeLessThanOrEqual(MAX_OF_LIMIT * requestsPerMinute);
      const busyPerMinute = busy === null ? requestsPerMinute : perMinute(arrivals, ...busy);
      expect(busyPerMinute).toBeGreaterThanOrEqual(LEAST_OF_LIMIT * requestsPerMinute);
    },
    TEST_TIMEOUT_MS,
  );
});

test(
  "tokens a minute, by the usage of the answers",
  async () => {
    const { broken, clients, arrivals } = await playSeveral({
      scenario: {
        budgets: { tokens_per_minute: 60 * LINE_TOKENS },
        answerOf: () => ({ status: 200, delayMs: 300, tokens: LINE_TOKENS }),
      },
      plans: [{ lines: 90 }, { lines: 90, beginsAfterMs: 5000 }],
      limitMs: 20 * MINUTE_MS,
    });
    expect(broken).toEqual([]);
    expect(completedLines(clients)).toBe(180);
    // The first lines are begun by a guess of what they cost.
    const learnt = arrivals.filter(({ at }) => at >= 20 * SECOND_MS);
    expect(mostInAMinute(learnt)).toBeLessThanOrEqual(MAX_OF_LIMIT * 60);
    expect(perMinute(arrivals, MINUTE_MS, 2.5 * MINUTE_MS)).toBeGreaterThanOrEqual(LEAST_OF_LIMIT * 60);
  },
  TEST_TIMEOUT_MS,
);

describe("an upstream without budgets in the settings that says what it takes", () => {
  test.each<[string, { lastsMs: number; limit: number; refusedAtMost: number }]>([
    // What is in flight when the first answer of a period says how little is left has been sent; and a reset that happens to
    // be that of a steady server (src/domain/quota-level.ts) is taken for one.
    ["30 in 20 s, short lines", { lastsMs: 300, limit: 30, refusedAtMost: 15 }],
    ["30 in 20 s, lines of 4 s", { lastsMs: 4000, limit: 30, refusedAtMost: 15 }],
    ["11 in 20 s, of which 8 are sent at once", { lastsMs: 300, limit: 11, refusedAtMost: 15 }],
  ])(
    "%s",
    async (_, { lastsMs, limit, refusedAtMost }) => {
      const window = { number: -1, requests: 0 };
      let refused = 0;
      let firstAt: number | null = null;
      const answerOf = (): ScriptedAnswer => {
        firstAt ??= Date.now();
        const number = Math.floor((Date.now() - firstAt) / LIMIT_WINDOW_MS);
        if (number !== window.number) Object.assign(window, { number, requests: 0 });
        window.requests += 1;
        const headers = {
          "x-ratelimit-limit-requests": String(limit),
          "x-ratelimit-remaining-requests": String(Math.max(0, limit - window.requests)),
          "x-ratelimit-reset-requests": `${(firstAt + (number + 1) * LIMIT_WINDOW_MS - Date.now()) / SECOND_MS}s`,
        };
        if (window.requests <= limit) return { status: 200, delayMs: lastsMs, headers };
        refused += 1;
        return { status: 429, delayMs: 50, headers };
      };
      const { broken, clients } = await playSeveral({
        scenario: { maxInFlight: 8, answerOf },
        plans: [{ lines: 50 }, { lines: 50, beginsAfterMs: 30_000 }],
        limitMs: 20 * MINUTE_MS,
      });
      expect(broken).toEqual([]);
      expect(completedLines(clients)).toBe(100);
      expect(refused).toBeLessThanOrEqual(refusedAtMost);
    },
    TEST_TIMEOUT_MS,
  );
});
