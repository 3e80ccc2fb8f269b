import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HttpUpstream } from "../../src/config.ts";
import { MAX_ANSWER_BYTES } from "../../src/domain/limits.ts";
import { noAnswer, type Outcome } from "../../src/domain/outcome.ts";
import { joinUrl } from "../../src/upstream/http.ts";
import { sendLine } from "../../src/upstream/send.ts";
import type { UpstreamRequest } from "../../src/upstream/upstream-request.ts";

const upstream: HttpUpstream = {
  kind: "http",
  name: "fake",
  baseUrl: "https://upstream.test/v1",
  apiKey: "sk-configured",
  guestCheckPath: null,
  models: null,
  timeoutSeconds: 30,
  maxInFlight: 64,
  requestsPerMinute: null,
  tokensPerMinute: null,
};

const request: UpstreamRequest = {
  endpoint: "/v1/chat/completions",
  body: '{"model":"m","seed":9223372036854775807,"temperature":1.0}',
  requestKey: "batch_1-7",
  attempt: 3,
  apiKey: null,
  reserve: () => Promise.resolve(),
};

const encoder = new TextEncoder();
type Reply = (sent: Request, signal: AbortSignal) => Response | Promise<Response>;

/** Plays the network from here on, and keeps what was sent. */
function play(reply: Reply): { readonly sent: Request[] } {
  const sent: Request[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const outgoing = new Request(input, init);
    sent.push(outgoing);
    const signal = init?.signal;
    return reply(outgoing, signal instanceof AbortSignal ? signal : new AbortController().signal);
  });
  return { sent };
}

function never(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
}

interface Chunks {
  readonly parts: readonly string[];
  readonly end: "close" | "break" | "hang";
  readonly onCancel?: () => void;
}

function streamOf({ parts, end, onCancel }: Chunks): ReadableStream<Uint8Array> {
  const left = [...parts];
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = left.shift();
      if (part !== undefined) controller.enqueue(encoder.encode(part));
      else if (end === "close") controller.close();
      else if (end === "break") controller.error(new Error("connect ECONNREFUSED 10.0.0.7:8000 sk-configured"));
      else return new Promise(() => {});
      return undefined;
    },
    ...(onCancel === undefined ? {} : { cancel: onCancel }),
  });
}

async function send(reply: Reply): Promise<Outcome> {
  play(reply);
  return sendLine(upstream, request);
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("the request", () => {
  test.each([
    ["https://h.test/v1", "/v1/chat/completions", "https://h.test/v1/chat/completions"],
    ["https://h.test/v1/", "/v1/embeddings", "https://h.test/v1/embeddings"],
    ["http://h.test:8000/v1", "/v1/images/edits", "http://h.test:8000/v1/images/edits"],
    ["https://h.test/openai", "/v1/responses", "https://h.test/openai/responses"],
    ["https://h.test", "/v1/chat/completions", "https://h.test/chat/completions"],
    ["https://h.test/v1beta/openai", "/v1/embeddings", "https://h.test/v1beta/openai/embeddings"],
    ["https://h.test/v1?api-version=1", "/v1/embeddings", "https://h.test/v1/embeddings?api-version=1"],
  ])("to %s and %s goes to %s", (baseUrl, endpoint, url) => {
    expect(joinUrl(baseUrl, endpoint)).toBe(url);
  });

  test("carries the body byte for byte, the configured key and no header of the client's", async () => {
    const { sent } = play(() => Response.json({}));
    await sendLine(upstream, request);
    const [outgoing] = sent;
    expect(outgoing?.method).toBe("POST");
    expect(outgoing?.url).toBe("https://upstream.test/v1/chat/completions");
    expect(outgoing?.redirect).toBe("manual");
    expect(await outgoing?.text()).toBe(request.body);
    expect(Object.fromEntries(outgoing?.headers ?? [])).toEqual({
      accept: "application/json",
      authorization: "Bearer sk-configured",
      "content-type": "application/json",
      "idempotency-key": "batch_1-7-3",
      "user-agent": "nightshift",
      "x-client-request-id": "batch_1-7",
    });
  });

  test.each([
    ["sk-theirs", "sk-configured", "Bearer sk-theirs"],
    [null, "sk-configured", "Bearer sk-configured"],
    ["sk-theirs", null, "Bearer sk-theirs"],
    [null, null, null],
  ])("with the key %s in place of %s says %s", async (apiKey, configured, authorization) => {
    const { sent } = play(() => Response.json({}));
    await sendLine({ ...upstream, apiKey: configured }, { ...request, apiKey });
    expect(sent[0]?.headers.get("authorization")).toBe(authorization);
  });
});

describe("an answer", () => {
  test("keeps status, body, request id, retry-after and rate limits", async () => {
    const body = '{"seed":9223372036854775807,"x":1.0,"usage":{"prompt_tokens":1,"completion_tokens":2}}';
    const limits = { "x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1m30s" };
    const headers = { "x-request-id": "req_theirs", "retry-after": "7", ...limits };
    expect(await send(() => new Response(body, { headers }))).toEqual({
      kind: "answered",
      statusCode: 200,
      requestId: "req_theirs",
      body,
      failure: null,
      usage: { inputTokens: 1, cachedTokens: 0, outputTokens: 2, reasoningTokens: 0, totalTokens: 3 },
      retryAfterSeconds: 7,
      rateLimit: { requests: { limit: null, remaining: 3, resetSeconds: 90 }, tokens: null },
    });
  });

  test.each([
    [
      "a 429 that says when",
      429,
      '{"error":{"message":"Slow down.","code":"slow"}}',
      { code: "slow", message: "Slow down." },
    ],
    ["a page with 200", 200, "<html>", { code: "invalid_response" }],
    ["a page with 502", 502, "<html>", { code: "server_error", message: "Upstream answered 502." }],
    ["nothing with 200", 200, "", { code: "invalid_response" }],
  ])("can be %s", async (_, status, body, failure) => {
    expect(await send(() => new Response(body, { status }))).toMatchObject({ statusCode: status, failure });
  });

  test("without a body is empty", async () => {
    expect(await send(() => new Response(null, { status: 204 }))).toMatchObject({
      statusCode: 204,
      failure: { code: "invalid_response" },
    });
  });

  test("that points elsewhere is a failure, and is not followed with the key", async () => {
    const { sent } = play(() => new Response("", { status: 307, headers: { location: "https://elsewhere.test/" } }));
    expect(await sendLine(upstream, request)).toMatchObject({
      statusCode: 307,
      failure: { code: "unexpected_redirect" },
    });
    expect(sent).toHaveLength(1);
  });

  test("is put together from its pieces, characters cut in two included", async () => {
    const bytes = encoder.encode('{"a":"é😀"}');
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    expect(await send(() => new Response(stream))).toMatchObject({ body: '{"a":"é😀"}', failure: null });
  });

  test("with bytes that are no UTF-8 keeps the rest", async () => {
    const bytes = Uint8Array.from([...encoder.encode('{"a":"'), 0xff, ...encoder.encode('"}')]);
    expect(await send(() => new Response(bytes))).toMatchObject({ body: '{"a":"\uFFFD"}', failure: null });
  });

  test("of the largest size is taken, one byte more is not, and the rest is not read", async () => {
    const quarter = "x".repeat(MAX_ANSWER_BYTES / 4);
    const whole = [`"${quarter.slice(1)}`, quarter, quarter, `${quarter.slice(1)}"`];
    const fits = await send(() => new Response(streamOf({ parts: whole, end: "close" })));
    expect(fits).toMatchObject({ kind: "answered", failure: null });

    const onCancel = vi.fn<() => void>();
    const tooLarge = await send(() => new Response(streamOf({ parts: [...whole, " "], end: "hang", onCancel })));
    expect(tooLarge).toEqual(noAnswer("response_too_large"));
    expect(onCancel).toHaveBeenCalledOnce();
  });

  test("is counted while it comes, whatever its headers declare", async () => {
    const parts = Array.from({ length: 17 }, () => "x".repeat(MAX_ANSWER_BYTES / 16));
    const headers = { "content-length": "10", "transfer-encoding": "chunked" };
    const onCancel = vi.fn<() => void>();
    const tooLarge = await send(() => new Response(streamOf({ parts, end: "hang", onCancel }), { headers }));
    expect(tooLarge).toEqual(noAnswer("response_too_large"));
    expect(onCancel).toHaveBeenCalledOnce();
  });
});

describe("the room of an answer", () => {
  const QUARTER_MIB = 256 * 1024;

  test.each<[string, number, Record<string, string>, readonly number[]]>([
    ["is not asked for up to 256 KiB", QUARTER_MIB, {}, []],
    ["is the largest answer's when its length is not known", QUARTER_MIB + 1, {}, [MAX_ANSWER_BYTES]],
    ["is its own when it is known", QUARTER_MIB + 1, { "content-length": String(QUARTER_MIB + 1) }, [QUARTER_MIB + 1]],
    [
      "is the largest answer's when more comes than was said",
      QUARTER_MIB + 1,
      { "content-length": "10" },
      [MAX_ANSWER_BYTES],
    ],
    [
      "is the largest answer's when the length is no number",
      QUARTER_MIB + 1,
      { "content-length": "x" },
      [MAX_ANSWER_BYTES],
    ],
    [
      "is not what a length says that is not the body's",
      QUARTER_MIB + 1,
      { "content-length": "10", "transfer-encoding": "chunked" },
      [MAX_ANSWER_BYTES],
    ],
  ])("%s", async (_, bytes, headers, asked) => {
    const body = `"${"x".repeat(bytes - 2)}"`;
    const reserve = vi.fn<UpstreamRequest["reserve"]>().mockResolvedValue();
    play(() => new Response(streamOf({ parts: [body], end: "close" }), { headers }));
    expect(await sendLine(upstream, { ...request, reserve })).toMatchObject({ failure: null });
    expect(reserve.mock.calls.flat()).toEqual(asked);
  });

  test.each([{}, { "transfer-encoding": "chunked" }])("has its limit though the length says 10: %j", async (coding) => {
    const half = "x".repeat(MAX_ANSWER_BYTES / 2);
    const headers = { "content-length": "10", ...coding };
    const parts = [half, half, "x"];
    const outcome = await send(() => new Response(streamOf({ parts, end: "hang" }), { headers }));
    expect(outcome).toEqual(noAnswer("response_too_large"));
  });

  test("is waited for no longer than the upstream has time", async () => {
    vi.useFakeTimers();
    play(() => new Response(streamOf({ parts: ["x".repeat(QUARTER_MIB + 1)], end: "hang" })));
    const sending = sendLine(upstream, { ...request, reserve: () => new Promise(() => {}) });
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await sending).toEqual(noAnswer("request_timeout"));
    vi.useRealTimers();
  });
});

describe("no answer", () => {
  test.each<[string, Reply]>([
    ["is made", () => Promise.reject(new TypeError("connect ECONNREFUSED 10.0.0.7:8000 sk-configured"))],
    ["breaks off in the middle", () => new Response(streamOf({ parts: ['{"a":'], end: "break" }))],
    ["breaks off after whole JSON", () => new Response(streamOf({ parts: ["{}"], end: "break" }))],
  ])("because the connection %s names neither host nor key", async (_, reply) => {
    const outcome = await send(reply);
    expect(outcome).toEqual(noAnswer("upstream_unreachable"));
    expect(JSON.stringify(outcome)).not.toMatch(/10\.0\.0\.7|sk-/);
  });

  test.each([["line\nbreak"], ["sk-é"], ["two words"], [""]])(
    "because the key %j cannot stand in a header",
    async (apiKey) => {
      const { sent } = play(() => Response.json({}));
      expect(await sendLine(upstream, { ...request, apiKey })).toEqual(noAnswer("upstream_unreachable"));
      expect(sent).toHaveLength(0);
    },
  );
});

describe("time", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test.each<[string, Reply]>([
    ["headers", (_, signal) => never(signal)],
    ["headers, deaf to the signal", () => new Promise(() => {})],
    ["the body", () => new Response(streamOf({ parts: ['{"a":'], end: "hang" }))],
  ])("runs out while waiting for %s", async (_, reply) => {
    let outcome: Outcome | null = null;
    const sending = send(reply).then((settled) => (outcome = settled));
    await vi.advanceTimersByTimeAsync(29_999);
    expect(outcome).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(await sending).toEqual(noAnswer("request_timeout"));
  });

  test("that ran out closes the connection", async () => {
    let aborted = false;
    const sending = send((_, signal) => {
      signal.addEventListener("abort", () => (aborted = true));
      return never(signal);
    });
    await vi.advanceTimersByTimeAsync(30_000);
    await sending;
    expect(aborted).toBe(true);
  });

  test("leaves nothing ticking behind an answer", async () => {
    await send(() => Response.json({}));
    expect(vi.getTimerCount()).toBe(0);
  });
});
