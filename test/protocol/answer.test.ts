import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readAnswer } from "../../src/protocol/answer.ts";
import type { Answer } from "../../src/domain/outcome.ts";

function read(statusCode: number, text: string): Answer {
  return readAnswer({ statusCode, requestId: null, retryAfterSeconds: null, rateLimit: null, text });
}

function errorOf(body: string): unknown {
  return (JSON.parse(body) as { error: unknown }).error;
}

function messageOf(text: string): string {
  return (errorOf(read(502, text).body) as { message: string }).message;
}

describe("a success", () => {
  test("keeps its bytes: big integers, the spelling of numbers, spaces", () => {
    const text = '{ "seed":9223372036854775807, "x": 1.0,"y":1e400 }';
    expect(read(200, text)).toEqual({
      kind: "answered",
      statusCode: 200,
      requestId: null,
      body: text,
      failure: null,
      usage: null,
      retryAfterSeconds: null,
      rateLimit: null,
    });
  });

  test("comes on one line", () => {
    expect(read(200, '{\r\n  "a": 1.0\n}\n').body).toBe('{  "a": 1.0}');
  });

  test("is any 2xx with JSON, whatever the JSON is", () => {
    for (const statusCode of [200, 201, 299]) {
      for (const text of ["{}", "[]", '"x"', "1", "null", "false"]) {
        expect(read(statusCode, text)).toMatchObject({ body: text, failure: null });
      }
    }
  });

  test("brings its usage, and what the headers said", () => {
    const text = '{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}';
    const rateLimit = { requests: { limit: 60, remaining: 59, resetSeconds: 1 }, tokens: null };
    const answer = readAnswer({ statusCode: 200, requestId: "req_1", retryAfterSeconds: 1.5, rateLimit, text });
    expect(answer.usage).toEqual({
      inputTokens: 3,
      cachedTokens: 0,
      outputTokens: 4,
      reasoningTokens: 0,
      totalTokens: 7,
    });
    expect(answer).toMatchObject({ requestId: "req_1", retryAfterSeconds: 1.5, rateLimit });
  });

  test("is not judged by an `error` inside it", () => {
    expect(read(200, '{"error":{"message":"half of it"}}').failure).toBeNull();
  });
});

describe("a failure's code and message", () => {
  test.each([
    ["OpenAI", 400, '{"error":{"message":"No.","type":"t","param":null,"code":"c"}}', "c", "No."],
    ["a null code", 400, '{"error":{"message":"No.","type":"t","code":null}}', "t", "No."],
    ["no code and no type", 400, '{"error":{"message":"No."}}', "invalid_request", "No."],
    ["an empty code", 429, '{"error":{"message":"No.","code":"","type":""}}', "rate_limit_exceeded", "No."],
    ["vLLM, a number for a code", 400, '{"error":{"message":"No.","type":"BadRequestError","code":400}}', "400", "No."],
    ["an older vLLM", 400, '{"object":"error","message":"No.","type":"BadRequestError","code":400}', "400", "No."],
    ["Ollama, a string", 404, '{"error":"model not found"}', "not_found", "model not found"],
    ["FastAPI", 404, '{"detail":"Not Found"}', "not_found", "Not Found"],
    [
      "FastAPI, validation",
      422,
      '{"detail":[{"loc":["x"],"msg":"Field required","type":"missing"}]}',
      "unprocessable_request",
      "Field required",
    ],
    ["a detailed detail", 400, '{"detail":{"message":"No.","code":"c"}}', "c", "No."],
    ["Cloudflare", 401, '{"success":false,"errors":[{"code":10000,"message":"No."}]}', "10000", "No."],
    ["Gemini, a list", 400, '[{"error":{"code":400,"message":"No.","status":"INVALID_ARGUMENT"}}]', "400", "No."],
    ["an empty message", 502, '{"error":{"message":""}}', "server_error", "Upstream answered 502."],
    ["a message that is no text", 500, '{"error":{"message":{"a":1}}}', "server_error", "Upstream answered 500."],
    ["an error that is a number", 500, '{"error":7}', "server_error", "Upstream answered 500."],
    ["an empty object", 503, "{}", "server_error", "Upstream answered 503."],
    ["an empty list", 400, "[]", "invalid_request", "Upstream answered 400."],
    ["null", 400, "null", "invalid_request", "Upstream answered 400."],
    ["a string", 500, '"broken"', "server_error", "broken"],
    ["no own members", 400, '{"__proto__":{"error":{"code":"x"}}}', "invalid_request", "Upstream answered 400."],
    ["a redirect", 302, "{}", "unexpected_redirect", "Upstream answered 302."],
  ])("of %s", (_, statusCode, text, code, message) => {
    const answer = read(statusCode, text);
    expect(answer.failure).toEqual({ code, message });
    expect(answer.body).toBe(text);
    expect(answer.usage).toBeNull();
  });

  test.each([
    [400, "invalid_request"],
    [401, "authentication_failed"],
    [403, "permission_denied"],
    [404, "not_found"],
    [405, "invalid_request"],
    [408, "request_timeout"],
    [409, "conflict"],
    [413, "request_too_large"],
    [422, "unprocessable_request"],
    [429, "rate_limit_exceeded"],
    [500, "server_error"],
    [502, "server_error"],
    [529, "server_error"],
  ])("of %i by status alone", (statusCode, code) => {
    expect(read(statusCode, "{}").failure?.code).toBe(code);
  });

  test("are not longer than 2,000 characters", () => {
    const long = "x".repeat(5000);
    const { failure } = read(400, JSON.stringify({ error: { message: long, code: long } }));
    expect(failure).toEqual({ code: long.slice(0, 2000), message: long.slice(0, 2000) });
  });
});

describe("a body that is not JSON", () => {
  const html = '<html>\n<h1>Bad "gateway"</h1>';

  test("becomes OpenAI's error object, under any status", () => {
    for (const statusCode of [200, 302, 404, 502]) {
      const { body } = read(statusCode, html);
      expect(errorOf(body)).toEqual({ message: html, type: "upstream_error", param: null, code: null });
      expect(body).not.toContain("\n");
    }
  });

  test.each([
    [200, "invalid_response", "Upstream answered 200 with a body that is not JSON."],
    [502, "server_error", "Upstream answered 502."],
    [404, "not_found", "Upstream answered 404."],
  ])("is a failure with %i", (statusCode, code, message) => {
    for (const text of [html, "", " ", '{"a":', "NaN", "{'a':1}", "data: {}\n\n"]) {
      expect(read(statusCode, text)).toMatchObject({ failure: { code, message }, usage: null });
    }
  });

  test("is cut at 2,000 characters, not inside one", () => {
    expect(messageOf("a".repeat(2001))).toBe("a".repeat(2000));
    expect(messageOf(`${"a".repeat(1998)}😀😀`)).toBe(`${"a".repeat(1998)}😀`);
    expect(messageOf(`${"a".repeat(1999)}😀`)).toBe("a".repeat(1999));
  });
});

test("whatever comes, the body is JSON on one line, and only a 2xx with JSON is a success", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.json(), fc.constantFrom("", "\n", "\u2028"));
  fc.assert(
    fc.property(fc.integer({ min: 200, max: 599 }), text, (statusCode, each) => {
      const answer = read(statusCode, each);
      expect(() => JSON.parse(answer.body) as unknown).not.toThrow();
      expect(answer.body).not.toMatch(/[\r\n]/);
      expect(answer.failure === null).toBe(statusCode < 300 && isJson(each));
    }),
  );
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
