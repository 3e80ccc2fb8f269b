import { describe, expect, test } from "vitest";
import { type AnswerClass, classify } from "../../src/domain/answer-class.ts";
import { type Answer, noAnswer, type Outcome } from "../../src/domain/outcome.ts";

function answered(statusCode: number, failure = { code: "some_code", message: "Some message." }): Answer {
  const isSuccess = statusCode < 300;
  const rest = { requestId: null, body: "{}", usage: null, retryAfterSeconds: null, rateLimit: null };
  return { kind: "answered", statusCode, failure: isSuccess ? null : failure, ...rest };
}

const quota = (code: string) => answered(429, { code, message: "You exceeded your current quota." });
const tooLarge = answered(429, {
  code: "rate_limit_exceeded",
  message: "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389.",
});

describe("classify", () => {
  test.each<[string, Outcome, AnswerClass]>([
    ["200", answered(200), "fine"],
    ["200 that is not JSON", { ...answered(200), failure: { code: "c", message: "m" } }, "fine"],
    ["400", answered(400), "fine"],
    ["401", answered(401), "refused"],
    ["402", answered(402), "refused"],
    ["403", answered(403), "refused"],
    ["405", answered(405), "fine"],
    ["408", answered(408), "fine"],
    ["409", answered(409), "fine"],
    ["413", answered(413), "fine"],
    ["422", answered(422), "fine"],
    ["429", answered(429), "busy"],
    ["429, out of quota", quota("insufficient_quota"), "refused"],
    ["429, a billing limit", quota("billing_hard_limit_reached"), "refused"],
    ["429, billing not active", quota("billing_not_active"), "refused"],
    ["429, the request is too large", tooLarge, "fine"],
    ["500", answered(500), "stumble"],
    ["501", answered(501), "fine"],
    ["502", answered(502), "away"],
    ["503", answered(503), "busy"],
    ["504", answered(504), "away"],
    ["505", answered(505), "stumble"],
    ["519", answered(519), "stumble"],
    ["520", answered(520), "away"],
    ["529", answered(529), "busy"],
    ["530", answered(530), "away"],
    ["531", answered(531), "stumble"],
    ["no connection", noAnswer("upstream_unreachable"), "away"],
    ["no answer in time", noAnswer("request_timeout"), "stumble"],
    ["an answer too large", noAnswer("response_too_large"), "fine"],
    ["a key that cannot be read", noAnswer("guest_key_unreadable"), "refused"],
  ])("%s", (_, outcome, expected) => {
    expect(classify(outcome, true)).toBe(expected);
  });

  test.each([
    [404, "refused"],
    [302, "refused"],
    [308, "refused"],
    [400, "fine"],
    [405, "fine"],
  ] as const)("%i before any line has succeeded: %s", (status, expected) => {
    expect(classify(answered(status), false)).toBe(expected);
    expect(classify(answered(status), true)).toBe("fine");
  });
});
