import { expect, test } from "vitest";
import { noAnswer, type Outcome } from "../../src/domain/outcome.ts";
import type { RateLimit } from "../../src/domain/rate-limit.ts";
import { NOTHING_SPENT, spendAnswer, type Spending, spendTry, unspend } from "../../src/domain/spending.ts";
import { NO_USAGE } from "../../src/domain/usage.ts";

function answered(totalTokens: number | null, rateLimit: RateLimit | null = null): Outcome {
  const usage = totalTokens === null ? null : { ...NO_USAGE, totalTokens };
  const said = { requestId: null, body: "{}", failure: null, retryAfterSeconds: null };
  return { kind: "answered", statusCode: 200, ...said, usage, rateLimit };
}

function answer(before: Spending, outcome: Outcome, sentAt = 0): Spending {
  return spendAnswer(before, { outcome, sentAt: new Date(sentAt), answeredAt: new Date(sentAt + 1000) });
}

function remaining(count: number): RateLimit {
  return { requests: { limit: null, remaining: count, resetSeconds: null }, tokens: null };
}

test("tries are counted when they begin, tokens when an answer says its usage", () => {
  let spent = NOTHING_SPENT;
  for (let tries = 0; tries < 5; tries += 1) spent = spendTry(spent);
  spent = answer(spent, answered(100));
  spent = answer(spent, answered(0));
  spent = answer(spent, answered(null));
  spent = answer(spent, noAnswer("request_timeout"));
  expect(spent).toEqual({ tries: 5, answersWithUsage: 2, tokens: 100, rateLimit: null });
});

test("of what answers say of limits, that of the request sent last is kept", () => {
  const first = answer(NOTHING_SPENT, answered(null, remaining(5)), 10_000);
  expect(first.rateLimit).toEqual({ ...remaining(5), sentAt: new Date(10_000), answeredAt: new Date(11_000) });
  const late = answer(first, answered(null, remaining(9)), 9000);
  expect(late.rateLimit?.requests?.remaining).toBe(5);
  const silent = answer(late, answered(null), 20_000);
  expect(silent.rateLimit?.requests?.remaining).toBe(5);
  expect(answer(silent, answered(null, remaining(2)), 20_000).rateLimit?.requests?.remaining).toBe(2);
});

test("what was reported is taken out, and what came meanwhile stays", () => {
  const said = answer(spendTry(spendTry(NOTHING_SPENT)), answered(100, remaining(5)), 1);
  expect(unspend(said, said)).toEqual(NOTHING_SPENT);
  const all = answer(spendTry(said), answered(7, remaining(4)), 2);
  expect(unspend(all, said)).toMatchObject({ tries: 1, answersWithUsage: 1, tokens: 7 });
  expect(unspend(all, said).rateLimit?.requests?.remaining).toBe(4);
});
