import type OpenAI from "openai";
import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from "vitest";
import type { EchoUpstream } from "../../src/config.ts";
import { ENDPOINT_PATHS } from "../../src/protocol/endpoints.ts";
import { noAnswer, type Outcome } from "../../src/domain/outcome.ts";
import type { embeddings } from "../../src/upstream/echo-embeddings.ts";
import type { moderation } from "../../src/upstream/echo-moderation.ts";
import type { chatCompletion, completion, images, response, video } from "../../src/upstream/echo-replies.ts";
import { sendLine } from "../../src/upstream/send.ts";

const upstream: EchoUpstream = {
  kind: "echo",
  name: "echo",
  models: null,
  timeoutSeconds: 30,
  maxInFlight: 64,
  requestsPerMinute: null,
  tokensPerMinute: null,
};

interface Sent {
  readonly endpoint?: string;
  readonly body: object | string;
  readonly attempt?: number;
}

function send({ endpoint = "/v1/chat/completions", body, attempt = 1 }: Sent): Promise<Outcome> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return sendLine(upstream, {
    endpoint,
    body: text,
    requestKey: "batch_1-1",
    attempt,
    apiKey: null,
    reserve: () => Promise.resolve(),
  });
}

/** The body of a success. */
async function replyTo<Reply = Record<string, unknown>>(endpoint: string, body: object): Promise<Reply> {
  const outcome = await send({ endpoint, body });
  if (outcome.kind !== "answered" || outcome.failure !== null) throw new Error(JSON.stringify(outcome));
  return JSON.parse(outcome.body) as Reply;
}

const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "What is an owl?" },
];

/** One request for each endpoint. */
const BODIES: Readonly<Record<string, object>> = {
  "/v1/chat/completions": { model: "m", messages },
  "/v1/completions": { model: "m", prompt: "Once" },
  "/v1/embeddings": { model: "m", input: ["a", "b"] },
  "/v1/responses": { model: "m", input: "Hello" },
  "/v1/moderations": { input: "I love owls" },
  "/v1/images/generations": { prompt: "An owl" },
  "/v1/images/edits": { prompt: "An owl", image: "data:image/png;base64,x" },
  "/v1/videos": { prompt: "An owl" },
};

describe("every endpoint", () => {
  test.each(ENDPOINT_PATHS.map((endpoint) => [endpoint]))("%s is answered, the same each time", async (endpoint) => {
    const body = BODIES[endpoint];
    if (body === undefined) throw new Error(`no example for ${endpoint}`);
    const first = await send({ endpoint, body });
    expect(first).toMatchObject({ kind: "answered", statusCode: 200, failure: null });
    expect(await send({ endpoint, body, attempt: 2 })).toEqual(first);
    expect(await send({ endpoint, body: { ...body, user: "another" } })).not.toEqual(first);
  });

  test("reports usage wherever OpenAI does", async () => {
    for (const endpoint of ENDPOINT_PATHS) {
      const outcome = await send({ endpoint, body: BODIES[endpoint] ?? {} });
      const usage = outcome.kind === "answered" ? outcome.usage : null;
      expect([endpoint, usage !== null]).toEqual([
        endpoint,
        endpoint !== "/v1/moderations" && endpoint !== "/v1/videos",
      ]);
      expect(usage?.totalTokens).not.toBe(0);
    }
  });

  test("replies have the types of the official SDK", () => {
    expectTypeOf<ReturnType<typeof chatCompletion>>().toExtend<OpenAI.ChatCompletion>();
    expectTypeOf<ReturnType<typeof completion>>().toExtend<OpenAI.Completion>();
    expectTypeOf<ReturnType<typeof response>>().toExtend<Omit<OpenAI.Responses.Response, "output_text">>();
    expectTypeOf<ReturnType<typeof moderation>>().toExtend<OpenAI.ModerationCreateResponse>();
    expectTypeOf<ReturnType<typeof images>>().toExtend<OpenAI.ImagesResponse>();
    expectTypeOf<Omit<ReturnType<typeof video>, "size">>().toExtend<Omit<OpenAI.Video, "size">>();
    expectTypeOf<Omit<ReturnType<typeof embeddings>, "data">>().toExtend<
      Omit<OpenAI.CreateEmbeddingResponse, "data">
    >();
  });

  test("an endpoint that does not exist is not found", async () => {
    expect(await send({ endpoint: "/v1/owls", body: {} })).toMatchObject({
      statusCode: 404,
      failure: { code: "invalid_request_error" },
    });
  });

  test.each(
    ENDPOINT_PATHS.flatMap(
      (endpoint) =>
        [
          [endpoint, {}],
          [endpoint, { messages: null, input: null, prompt: null, n: -1 }],
          [endpoint, { messages: 7, input: [], prompt: [], n: "many", model: 1 }],
          [endpoint, { messages: [[]], input: { a: 1 }, prompt: [null, 1], n: 1.5 }],
          [endpoint, { messages: [], input: [[], [1]], prompt: ["", {}], n: 1e9 }],
        ] as [string, object][],
    ),
  )("%s takes %j without falling over", async (endpoint, body) => {
    expect(await send({ endpoint, body })).toMatchObject({ kind: "answered", statusCode: 200 });
  });

  test("nesting of any depth does not overflow the stack", async () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    for (const endpoint of ENDPOINT_PATHS) {
      const outcome = await send({ endpoint, body: `{"messages":${deep},"input":${deep},"prompt":${deep}}` });
      expect(outcome).toMatchObject({ kind: "answered" });
    }
  });
});

describe("chat completions", () => {
  test("repeat the last message, n times, under the model that was asked for", async () => {
    const reply = await replyTo<OpenAI.ChatCompletion>("/v1/chat/completions", { model: "m", messages, n: 3 });
    expect(reply.model).toBe("m");
    expect(reply.choices.map(({ index, message }) => [index, message.content])).toEqual(
      [0, 1, 2].map((index) => [index, "What is an owl?"]),
    );
    expect(reply.usage).toMatchObject({ prompt_tokens: 6, completion_tokens: 12, total_tokens: 18 });
  });

  test.each([
    [
      "parts",
      [
        { type: "text", text: "What " },
        { type: "image_url", image_url: { url: "x" } },
        { type: "text", text: "now?" },
      ],
      "What now?",
    ],
    ["half a surrogate pair", "a\ud800", "a\uFFFD"],
    ["a long text", "x".repeat(10_000), "x".repeat(4000)],
  ])("repeat %s", async (_, content, expected) => {
    const reply = await replyTo<OpenAI.ChatCompletion>("/v1/chat/completions", {
      messages: [{ role: "user", content }],
    });
    expect(reply.choices[0]?.message.content).toBe(expected);
  });
});

describe("completions and responses", () => {
  test("complete each of several prompts n times", async () => {
    const reply = await replyTo<OpenAI.Completion>("/v1/completions", { model: "m", prompt: ["a", "b"], n: 2 });
    expect(reply.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "a"],
      [1, "a"],
      [2, "b"],
      [3, "b"],
    ]);
  });

  test("respond to a list of items with the text of the last one", async () => {
    const input = [
      { role: "user", content: "first" },
      { role: "user", content: [{ type: "input_text", text: "second" }] },
    ];
    const reply = await replyTo<OpenAI.Responses.Response>("/v1/responses", { model: "m", input });
    expect(reply.output).toMatchObject([{ type: "message", content: [{ type: "output_text", text: "second" }] }]);
  });
});

describe("embeddings", () => {
  interface Embedded {
    readonly data: readonly { readonly embedding: number[] | string; readonly index: number }[];
  }

  test("are unit vectors, equal for equal texts and different for others", async () => {
    const { data } = await replyTo<Embedded>("/v1/embeddings", { model: "m", input: ["owl", "cat", "owl"] });
    const [owl, cat, again] = data.map(({ embedding }) => embedding as number[]);
    expect(owl).toHaveLength(1536);
    expect(Math.hypot(...(owl ?? []))).toBeCloseTo(1, 5);
    expect(again).toEqual(owl);
    expect(cat).not.toEqual(owl);
  });

  test("have the dimensions and the encoding that were asked for", async () => {
    const body = { model: "m", input: "owl", dimensions: 8 };
    const asNumbers = (await replyTo<Embedded>("/v1/embeddings", body)).data[0]?.embedding as number[];
    const asBase64 = (await replyTo<Embedded>("/v1/embeddings", { ...body, encoding_format: "base64" })).data[0]
      ?.embedding;
    const decoded = [...new Float32Array(Uint8Array.fromBase64(String(asBase64)).buffer)];
    expect(asNumbers).toHaveLength(8);
    expect(decoded).toEqual([...Float32Array.from(asNumbers)]);
  });

  test.each([
    ["one text", "a", 1],
    ["several texts", ["a", "b", "c"], 3],
    ["one list of tokens", [1, 2, 3], 1],
    ["several lists of tokens", [[1], [2, 3]], 2],
  ])("come one for each input: %s", async (_, input, count) => {
    const { data } = await replyTo<Embedded>("/v1/embeddings", { model: "m", input, dimensions: 2 });
    expect(data.map(({ index }) => index)).toEqual(Array.from({ length: count }, (__, index) => index));
  });

  test.each([
    ["dimensions", { input: "a", dimensions: 0 }],
    ["dimensions", { input: "a", dimensions: 5000 }],
    ["dimensions", { input: "a", dimensions: "8" }],
    ["input", { input: Array.from({ length: 2048 }, () => "a") }],
  ])("are refused for %s that do not fit", async (param, body) => {
    const outcome = await send({ endpoint: "/v1/embeddings", body });
    expect(outcome).toMatchObject({ statusCode: 400 });
    expect(outcome.kind === "answered" && JSON.parse(outcome.body)).toMatchObject({ error: { param } });
  });
});

test("moderations flag nothing, once for each input", async () => {
  const reply = await replyTo<OpenAI.ModerationCreateResponse>("/v1/moderations", { input: ["a", "b"] });
  expect(reply.results.map(({ flagged }) => flagged)).toEqual([false, false]);
});

test("images are n PNGs", async () => {
  const reply = await replyTo<OpenAI.ImagesResponse>("/v1/images/generations", { prompt: "An owl", n: 2 });
  expect(reply.data).toHaveLength(2);
  expect(Uint8Array.fromBase64(reply.data?.[1]?.b64_json ?? "").subarray(1, 4)).toEqual(
    new TextEncoder().encode("PNG"),
  );
});

describe("a request that says how it is to fail", () => {
  test.each([
    [{ status: 429 }, 429, "rate_limit_exceeded", null],
    [{ status: 429, retry_after: 2 }, 429, "rate_limit_exceeded", 2],
    [{ status: 429, retry_after: "soon" }, 429, "rate_limit_exceeded", null],
    [{ status: 400 }, 400, "invalid_request_error", null],
    [{ status: 500 }, 500, "server_error", null],
    [{ failures: 9 }, 500, "server_error", null],
    [{ fault: "html" }, 200, "invalid_response", null],
    [{ fault: "html", status: 502 }, 502, "server_error", null],
  ])("%j", async (echo, statusCode, code, retryAfterSeconds) => {
    expect(await send({ body: { messages, echo } })).toMatchObject({
      statusCode,
      failure: { code },
      retryAfterSeconds,
    });
  });

  test("cannot reach its upstream", async () => {
    expect(await send({ body: { messages, echo: { fault: "unreachable" } } })).toEqual(
      noAnswer("upstream_unreachable"),
    );
  });

  test("fails only as many tries as it is told, whatever way", async () => {
    for (const fault of [undefined, "unreachable", "html"]) {
      const body = { messages, echo: { fault, failures: 2 } };
      const outcomes = await Promise.all([1, 2, 3, 4].map((attempt) => send({ body, attempt })));
      expect(outcomes.map(({ failure }) => failure === null)).toEqual([false, false, true, true]);
    }
  });

  test.each([
    [{ status: 200 }, "echo.status"],
    [{ delay_ms: -1 }, "echo.delay_ms"],
    [{ fault: "fire" }, "echo.fault"],
    [{ delay: 5 }, "echo"],
    ["slow", "echo"],
  ])("is told about its mistake: %j", async (echo, param) => {
    const outcome = await send({ body: { messages, echo } });
    expect(outcome).toMatchObject({ statusCode: 400, failure: { code: "invalid_request_error" } });
    expect(outcome.kind === "answered" && JSON.parse(outcome.body)).toMatchObject({ error: { param } });
  });

  test.each([["[]"], ["null"], ["{"], ['"x"']])("is not even an object: %s", async (body) => {
    expect(await send({ body })).toMatchObject({ statusCode: 400 });
  });
});

describe("a request that says how slow it is", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test.each([
    ["waits before a success", { delay_ms: 2000 }, 2000, { statusCode: 200 }],
    ["waits before a failure", { delay_ms: 2000, status: 500 }, 2000, { statusCode: 500 }],
    ["runs out of time", { delay_ms: 30_000 }, 30_000, noAnswer("request_timeout")],
    [
      "waits no longer than its upstream allows",
      { delay_ms: 600_000, status: 500 },
      30_000,
      noAnswer("request_timeout"),
    ],
    ["hangs", { fault: "timeout" }, 30_000, noAnswer("request_timeout")],
  ])("%s", async (_, echo, delayMs, expected) => {
    let outcome: Outcome | null = null;
    const sending = send({ body: { messages, echo } }).then((settled) => (outcome = settled));
    await vi.advanceTimersByTimeAsync(delayMs - 1);
    expect(outcome).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(await sending).toMatchObject(expected);
  });
});
