import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Answer, noAnswer } from "../../src/domain/outcome.ts";
import { type ExecutedLine, toMissingResultLine, toResultLine } from "../../src/protocol/result-line.ts";

const id = "batch_req_0123456789abcdef0123456789abcdef";
const ownRequestId = "req_own";

function answered(fields: Partial<Answer>): Answer {
  return {
    kind: "answered",
    statusCode: 200,
    requestId: "req_upstream",
    body: "{}",
    failure: null,
    usage: null,
    retryAfterSeconds: null,
    rateLimit: null,
    ...fields,
  };
}

function lineOf(executed: ExecutedLine): string {
  const { head, body, tail } = toResultLine(executed);
  return head + body + tail;
}

describe("toResultLine", () => {
  test("puts a success on one line, its body as it came", () => {
    const body = '{ "seed":9223372036854775807,"x":1.0 }';
    expect(lineOf({ id, customId: "a", outcome: answered({ body }), ownRequestId })).toBe(
      `{"id":"${id}","custom_id":"a","response":{"status_code":200,"request_id":"req_upstream","body":${body}},"error":null}\n`,
    );
  });

  test("keeps a failed answer and says why it failed", () => {
    const outcome = answered({ statusCode: 429, failure: { code: "rate_limit_exceeded", message: "Slow down." } });
    expect(lineOf({ id, customId: "a", outcome, ownRequestId })).toBe(
      `{"id":"${id}","custom_id":"a","response":{"status_code":429,"request_id":"req_upstream","body":{}},` +
        `"error":{"code":"rate_limit_exceeded","message":"Slow down."}}\n`,
    );
  });

  test("names its own request id where the upstream sent none", () => {
    const line = lineOf({ id, customId: "a", outcome: answered({ requestId: null }), ownRequestId });
    expect(line).toContain('"request_id":"req_own"');
  });

  test.each(["request_timeout", "upstream_unreachable", "response_too_large"] as const)(
    "has no response for %s",
    (code) => {
      const line = JSON.parse(lineOf({ id, customId: "a", outcome: noAnswer(code), ownRequestId })) as unknown;
      expect(line).toEqual({ id, custom_id: "a", response: null, error: noAnswer(code).failure });
    },
  );
});

describe("toMissingResultLine", () => {
  test("says what the upstream answered, where it answered", () => {
    const answer = { code: "invalid_api_key", message: "Wrong key." };
    expect(toMissingResultLine({ id, customId: "a", reason: "batch_expired", answer })).toBe(
      `{"id":"${id}","custom_id":"a","response":null,"error":{"code":"invalid_api_key","message":"Wrong key."}}\n`,
    );
  });

  test.each([
    ["batch_expired", "This request could not be executed before the completion window expired."],
    ["batch_cancelled", "This request was not executed because the batch was cancelled."],
  ] as const)("says %s", (reason, message) => {
    expect(toMissingResultLine({ id, customId: "a", reason, answer: null })).toBe(
      `{"id":"${id}","custom_id":"a","response":null,"error":{"code":"${reason}","message":"${message}"}}\n`,
    );
  });
});

test("whatever a line carries, it is one line of JSON that says the same", () => {
  const text = fc.string({ unit: "binary" });
  // No escapes: V8 misreads escaped keys at times (github.com/nodejs/node/issues/63785).
  const json = fc.json().filter((each) => !each.includes("\\"));
  const fields = fc.record({ customId: text, requestId: text, code: text, message: text, body: json });
  fc.assert(
    fc.property(fields, ({ customId, requestId, code, message, body }) => {
      const outcome = answered({ statusCode: 400, requestId, body, failure: { code, message } });
      const line = lineOf({ id, customId, outcome, ownRequestId });
      expect(line).toMatch(/^[^\r\n]*\n$/);
      expect(Object.keys(JSON.parse(line) as object)).toEqual(["id", "custom_id", "response", "error"]);
      expect(JSON.parse(line)).toEqual({
        id,
        custom_id: customId,
        response: { status_code: 400, request_id: requestId, body: JSON.parse(body) as unknown },
        error: { code, message },
      });
      expect(toMissingResultLine({ id, customId, reason: "batch_expired", answer: null })).toMatch(/^[^\r\n]*\n$/);
    }),
  );
});

test("a lone surrogate in a custom_id survives the way through UTF-8", () => {
  const customId = JSON.parse(String.raw`"a\ud800"`) as string;
  const line = toMissingResultLine({ id, customId, reason: "batch_cancelled", answer: null });
  const received = new TextDecoder().decode(new TextEncoder().encode(line));
  expect((JSON.parse(received) as { custom_id: string }).custom_id).toBe(customId);
});
