import { describe, expect, test } from "vitest";
import { ENDPOINTS } from "../../src/protocol/endpoints.ts";
import { type LineRules, parseRequestLine, readRequest } from "../../src/protocol/request-line.ts";

const CHAT = "/v1/chat/completions";

function rulesOf(path: string, models: readonly string[] | null = null): LineRules {
  const endpoint = ENDPOINTS[path];
  if (endpoint === undefined) throw new Error(`there is no endpoint ${path}`);
  return { path, endpoint, models };
}

const chat = rulesOf(CHAT);
const good = { custom_id: "a", method: "POST", url: CHAT, body: { model: "m", messages: [] } };

function reasonOf(line: unknown, rules = chat) {
  const parsed = parseRequestLine(typeof line === "string" ? line : JSON.stringify(line), rules);
  return parsed.ok ? null : parsed.reason;
}

function without(name: string) {
  return Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
}

const MISMATCH = "The URL provided for this request does not match the batch endpoint.";
const TYPE = "invalid_type";

describe("a line is refused", () => {
  test.each([
    ["nothing", ""],
    ["half an object", '{"custom_id":'],
    ["a number", "1"],
    ["text", '"text"'],
    ["null", "null"],
    ["a list", "[{}]"],
    ["a byte-order mark first", `\uFEFF${JSON.stringify(good)}`],
    ["two objects", `${JSON.stringify(good)}${JSON.stringify(good)}`],
    ["single quotes", "{'custom_id': 'a'}"],
    ["a comma too many", '{"custom_id":"a",}'],
    ["NUL", `${JSON.stringify(good)}\0`],
    ["a raw control character in a string", '{"custom_id":"\u0001"}'],
    ["NaN", '{"custom_id":"a","body":{"seed":NaN}}'],
    ["100,000 open brackets", "[".repeat(100_000)],
  ])("that is %s", (_what, text) => {
    expect(reasonOf(text)).toEqual({
      code: "invalid_json_line",
      message: "This line is not parseable as valid JSON.",
      param: null,
    });
  });

  test.each(["custom_id", "method", "url", "body"])("without %s", (param) => {
    expect(reasonOf(without(param))).toEqual({
      code: "missing_required_parameter",
      message: `Missing required parameter: '${param}'.`,
      param,
    });
  });

  test.each([
    ["custom_id", "custom_id", { ...good, custom_id: 1 }, "a string, but got an integer"],
    ["custom_id", "custom_id", { ...good, custom_id: 1.5 }, "a string, but got a decimal"],
    ["custom_id", "custom_id", { ...good, custom_id: null }, "a string, but got null"],
    ["custom_id", "custom_id", { ...good, custom_id: {} }, "a string, but got an object"],
    ["method", "method", { ...good, method: ["POST"] }, "a string, but got an array"],
    ["url", "url", { ...good, url: true }, "a string, but got a boolean"],
    ["body", "body", { ...good, body: "{}" }, "an object, but got a string"],
    ["body", "body", { ...good, body: [] }, "an object, but got an array"],
    ["body", "body", { ...good, body: null }, "an object, but got null"],
    ["model", "body.model", { ...good, body: { model: 7, messages: [] } }, "a string, but got an integer"],
  ])("whose %s is of another type", (_what, param, line, expected) => {
    const message = `Invalid type for '${param}': expected ${expected} instead.`;
    expect(reasonOf(line)).toEqual({ code: TYPE, message, param });
  });

  test.each(["GET", "post", ""])("with the method %j", (method) => {
    const message = `Invalid method: '${method}'. Only 'POST' is supported.`;
    expect(reasonOf({ ...good, method })).toEqual({ code: "invalid_method", message, param: "method" });
  });

  test.each(["/v1/embeddings", "/v1/chat/completions/", "https://api.openai.com/v1/chat/completions", ""])(
    "with the URL %j",
    (url) => {
      expect(reasonOf({ ...good, url })).toEqual({ code: "invalid_url", message: MISMATCH, param: "url" });
    },
  );

  test.each([
    [CHAT, {}, "model", "Model"],
    [CHAT, { model: "m" }, "messages", "Messages"],
    [CHAT, { model: null, messages: [] }, "model", "Model"],
    [CHAT, { model: "", messages: [] }, "model", "Model"],
    ["/v1/completions", { model: "m" }, "prompt", "Prompt"],
    ["/v1/embeddings", { input: "x" }, "model", "Model"],
    ["/v1/embeddings", { model: "m" }, "input", "Input"],
    ["/v1/responses", { input: "x" }, "model", "Model"],
    ["/v1/moderations", { model: "m" }, "input", "Input"],
    ["/v1/images/generations", { model: "m" }, "prompt", "Prompt"],
    ["/v1/images/edits", {}, "prompt", "Prompt"],
    ["/v1/videos", {}, "prompt", "Prompt"],
  ])("for %s with the body %j: %s is required", (path, body, name, label) => {
    expect(reasonOf({ ...good, url: path, body }, rulesOf(path))).toEqual({
      code: "invalid_request",
      message: `${label} parameter is required.`,
      param: `body.${name}`,
    });
  });

  test.each([[true], ["true"], ["false"], [1], [0], [{}], [[]]])("that asks to be streamed: %j", (stream) => {
    expect(reasonOf({ ...good, body: { ...good.body, stream } })).toEqual({
      code: "streaming_unsupported",
      message: "Chat Completions: Streaming is not supported in the Batch API.",
      param: "body.stream",
    });
  });

  test("that names a model which the upstream does not list", () => {
    const message = "The provided model 'm' is not supported by the Batch API.";
    expect(reasonOf(good, rulesOf(CHAT, ["other"]))).toEqual({
      code: "model_not_found",
      message,
      param: "body.model",
    });
  });

  test("with a custom_id of 513 characters", () => {
    expect(reasonOf({ ...good, custom_id: "x".repeat(513) })).toEqual({
      code: "string_above_max_length",
      message:
        "Invalid 'custom_id': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
      param: "custom_id",
    });
  });

  test.each([
    ["method", { ...good, method: "x".repeat(100_000) }],
    ["model", { ...good, body: { ...good.body, model: "x".repeat(100_000) } }],
  ])("with a long %s, in a short message", (_what, line) => {
    expect(reasonOf(line, rulesOf(CHAT, ["m"]))?.message.length).toBeLessThan(300);
  });
});

describe("a line is accepted", () => {
  const plain = { customId: "a", model: "m", embeddingInputs: 0 };

  test.each([
    ["plain", JSON.stringify(good), plain],
    ["with CRLF", `${JSON.stringify(good)}\r`, plain],
    ["with space around it", ` \t${JSON.stringify(good)} `, plain],
    ["with members nobody knows", JSON.stringify({ ...good, more: 1 }), plain],
    ["with stream null", JSON.stringify({ ...good, body: { ...good.body, stream: null } }), plain],
    ["with stream false", JSON.stringify({ ...good, body: { ...good.body, stream: false } }), plain],
    [
      "with a custom_id of 512 characters",
      JSON.stringify({ ...good, custom_id: "x".repeat(512) }),
      { ...plain, customId: "x".repeat(512) },
    ],
    ["with an empty custom_id", JSON.stringify({ ...good, custom_id: "" }), { ...plain, customId: "" }],
    [
      "with a lone surrogate, escaped",
      JSON.stringify(good).replace('"a"', '"\\ud800"'),
      { ...plain, customId: "\ud800" },
    ],
    ["with NUL, escaped", JSON.stringify(good).replace('"a"', '"\\u0000"'), { ...plain, customId: "\0" }],
    ["with __proto__", JSON.stringify(good).replace("{", '{"__proto__":{"custom_id":"evil","method":"GET"},'), plain],
    ["with a key twice, the last one counting", JSON.stringify(good).replace("{", '{"custom_id":"first",'), plain],
  ])("%s", (_what, text, value) => {
    expect(parseRequestLine(text, chat)).toEqual({ ok: true, value });
  });

  test("with members of its prototype alone: they are none", () => {
    expect(reasonOf('{"__proto__":{"custom_id":"a"}}')?.code).toBe("missing_required_parameter");
  });

  test("with a body that is nested 5,000 deep", () => {
    const deep = `${"[".repeat(5000)}${"]".repeat(5000)}`;
    const text = JSON.stringify(good).replace('"messages":[]', `"messages":${deep}`);
    expect(parseRequestLine(text, chat)).toEqual({ ok: true, value: plain });
  });

  test("without a model where its endpoint needs none", () => {
    const line = { ...good, url: "/v1/moderations", body: { input: "x" } };
    const value = { ...plain, model: null };
    expect(parseRequestLine(JSON.stringify(line), rulesOf("/v1/moderations"))).toEqual({ ok: true, value });
  });

  test.each([
    ["text", "x", 1],
    ["a list of texts", ["x", "y", "z"], 3],
    ["one list of tokens", [1, 2, 3], 1],
    ["lists of tokens", [[1], [2, 3]], 2],
    ["nothing", [], 0],
  ])("as an embedding of %s", (_what, input, embeddingInputs) => {
    const line = { ...good, url: "/v1/embeddings", body: { model: "m", input } };
    const value = { ...plain, embeddingInputs };
    expect(parseRequestLine(JSON.stringify(line), rulesOf("/v1/embeddings"))).toEqual({ ok: true, value });
  });
});

describe("readRequest", () => {
  test.each([
    [
      "in any order",
      '{"body":{"model":"m"},"custom_id":"one","url":"/v1"}',
      { customId: "one", body: '{"model":"m"}' },
    ],
    [
      "with the body's own bytes",
      '{ "custom_id": "\\u006fne", "body": { "seed": 9223372036854775807, "x": 1.0 } }',
      { customId: "one", body: '{ "seed": 9223372036854775807, "x": 1.0 }' },
    ],
    ["the last of two", '{"custom_id":"a","custom_id":"b","body":{"a":1},"body":{}}', { customId: "b", body: "{}" }],
  ])("reads name and body %s", (_how, text, request) => {
    expect(readRequest(text)).toEqual(request);
  });
});
