import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { writeForm, BOUNDARY } from "../support/service.ts";
import { sendChecked } from "./checked-replies.ts";
import { fuzz, timeoutOf } from "./fuzz.ts";
import { anyJson, anyText, DEEP_JSON, loneSurrogates, type Mutation, mutate, mutation, oddNumber } from "./texts.ts";
import { countTraces, endBatch, NO_TRACES } from "./traces.ts";

const QUERIES = { percent: 14 };
const IDS = { percent: 14 };
const HEADERS = { percent: 14 };
const BODIES = { percent: 14 };

holdClockAndQueue();

beforeAll(async () => {
  await sendChecked("/v1/files");
});

describe("a query of anything", () => {
  const key = fc.oneof(fc.constantFrom("limit", "after", "purpose", "order", "limit[]"), anyText);
  const value = fc.oneof(fc.integer().map(String), fc.double().map(String), anyText);
  const pair = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(key, value).map(([name, text]) => `${escape(name)}=${escape(text)}`) },
    { weight: 1, arbitrary: fc.tuple(key, value).map(([name, text]) => `${name}=${text}`) },
    { weight: 1, arbitrary: fc.constantFrom("limit", "=", "==", "%", "limit=%31", "a=%zz", "+=+", "limit=+5") },
  );
  const query = fc.record({
    path: fc.constantFrom("/v1/files", "/v1/batches", "/healthz", "/v1"),
    pairs: fc.array(pair, { maxLength: 6 }),
  });

  test(
    "is answered",
    () =>
      fuzz(QUERIES, query, async ({ path, pairs }) => {
        const { status } = await sendChecked(`${path}?${pairs.join("&")}`);
        expect(status).toBeOneOf([200, 400, 404]);
      }),
    timeoutOf(QUERIES),
  );
});

describe("an id of anything", () => {
  const id = fc.oneof(
    anyText,
    fc
      .tuple(
        fc.constantFrom("file-", "batch_"),
        fc.string({ unit: fc.constantFrom("0", "7", "a", "f", "A", "-"), maxLength: 40 }),
      )
      .map((it) => it.join("")),
  );
  const spelling = fc.constantFrom(
    (text: string) => escape(text),
    (text: string) => escape(escape(text)),
    (text: string) => text,
    (text: string) => escape(text).toLowerCase(),
    (text: string) => Array.from(text, (sign) => `%${(sign.codePointAt(0) ?? 0).toString(16)}`).join(""),
  );
  const request = fc.record({
    path: fc
      .tuple(fc.constantFrom("/v1/files/", "/v1/batches/", "/v1/", "/"), id, spelling)
      .map(([start, text, spell]) => start + spell(text)),
    end: fc.constantFrom("", "/", "/content", "/cancel", "/content/", "/output", "//"),
    method: fc.constantFrom("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "PROPFIND"),
  });

  test(
    "is answered, finds nothing and changes nothing",
    () =>
      fuzz(IDS, request, async ({ path, end, method }) => {
        await sendChecked(path + end, { method });
        expect(await countTraces()).toEqual(NO_TRACES);
      }),
    timeoutOf(IDS),
  );
});

describe("headers of anything", () => {
  const name = fc.constantFrom(
    "authorization",
    "x-portkey-provider",
    "content-type",
    "range",
    "if-none-match",
    "if-match",
    "if-unmodified-since",
    "if-modified-since",
    "if-range",
    "idempotency-key",
    "accept",
    "accept-encoding",
    "content-encoding",
    "transfer-encoding",
    "expect",
    "cookie",
    "x-forwarded-for",
    "cf-connecting-ip",
    "x-http-method-override",
    "x-request-id",
    "openai-organization",
  );
  const value = fc.oneof(
    anyText,
    fc.constantFrom(
      "Bearer sk-test",
      "Bearer",
      "Bearer a b",
      "bearer \tsk-test",
      "Basic eDp5",
      "mock",
      "echo",
      "gzip",
      "chunked",
      "100-continue",
    ),
    fc.constantFrom(
      "bytes=0-0",
      "bytes=-1",
      "bytes=9-1",
      `bytes=${"0-1,".repeat(3000)}`,
      '"x"',
      `W/${'"x", '.repeat(3000)}`,
      "*",
    ),
  );
  const request = fc.record({
    route: fc.constantFrom(
      ["GET", "/v1/files"],
      ["GET", "content"],
      ["POST", "/v1/files"],
      ["POST", "/v1/batches"],
      ["GET", "/v1/batches"],
      ["POST", "/v1/batches/b/cancel"],
    ),
    hasKey: fc.boolean(),
    headers: fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 5 }),
  });

  test(
    "are answered, and leave nothing",
    async () => {
      const form = writeForm([
        { name: "purpose", content: "batch" },
        { name: "file", filename: "a.jsonl", content: "{}" },
      ]);
      const contentType = `multipart/form-data; boundary=${BOUNDARY}`;
      const key = { authorization: "Bearer sk-test" };
      const stored = await sendChecked("/v1/files", {
        method: "POST",
        body: form,
        headers: { ...key, "content-type": contentType },
      });
      await fuzz(HEADERS, request, async ({ route: [method = "", path = ""], hasKey, headers }) => {
        const made = new Headers(hasKey ? key : {});
        for (const [header, text] of headers) made.set(header, toHeaderText(text));
        await sendChecked(path === "content" ? `/v1/files/${String(stored.json["id"])}/content` : path, {
          method,
          headers: made,
          body: method === "POST" ? "{}" : null,
        });
        expect(await countTraces()).toEqual({ files: 1, batches: 0, objects: 1 });
      });
      await sendChecked(`/v1/files/${String(stored.json["id"])}`, { method: "DELETE" });
    },
    timeoutOf(HEADERS),
  );
});

describe("an order of anything", () => {
  const metadata = fc.oneof(
    { weight: 3, arbitrary: fc.dictionary(anyText, anyText, { maxKeys: 4 }) },
    {
      weight: 1,
      arbitrary: fc.dictionary(
        fc.string({ minLength: 62, maxLength: 66 }),
        fc.string({ unit: "grapheme", minLength: 510, maxLength: 514 }),
        { maxKeys: 2 },
      ),
    },
    { weight: 1, arbitrary: fc.dictionary(fc.string(), fc.constant("x"), { minKeys: 15, maxKeys: 18 }) },
    { weight: 1, arbitrary: fc.dictionary(fc.string(), loneSurrogates, { maxKeys: 2 }) },
    { weight: 1, arbitrary: anyJson },
  );
  const expiry = fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({
        anchor: fc.constantFrom("created_at", "now"),
        seconds: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(3599, 3600, 2_592_000, 2_592_001)),
      }),
    },
    { weight: 1, arbitrary: anyJson },
  );
  const fields = fc.record(
    {
      input_file_id: fc.oneof({ weight: 3, arbitrary: fc.constant("file-0") }, { weight: 1, arbitrary: anyJson }),
      endpoint: fc.oneof({ weight: 9, arbitrary: fc.constant("/v1/embeddings") }, { weight: 1, arbitrary: anyJson }),
      completion_window: fc.oneof({ weight: 9, arbitrary: fc.constant("24h") }, { weight: 1, arbitrary: anyJson }),
      metadata,
      output_expires_after: expiry,
    },
    { requiredKeys: ["input_file_id", "endpoint", "completion_window"] },
  );
  const text = fc.oneof(
    { weight: 12, arbitrary: fields.map((made) => JSON.stringify(made)) },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fields, oddNumber)
        .map(
          ([made, number]) =>
            `${JSON.stringify(made).slice(0, -1)},"output_expires_after":{"anchor":"created_at","seconds":${number}}}`,
        ),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fields, anyText)
        .map(
          ([made, it]) =>
            `${JSON.stringify(made).slice(0, -1)},"metadata":{"__proto__":${JSON.stringify(it)},"constructor":"x"},"__proto__":{"endpoint":1}}`,
        ),
    },
    { weight: 2, arbitrary: anyJson.map((made) => JSON.stringify(made)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(DEEP_JSON, `{"metadata":${DEEP_JSON}}`, '{"a":'.repeat(100_000), "\uFEFF{}", ""),
    },
  );
  const body = fc.record({
    text,
    mutations: fc.oneof(
      { weight: 3, arbitrary: fc.constant<Mutation[]>([]) },
      { weight: 1, arbitrary: fc.array(mutation, { maxLength: 3 }) },
    ),
    contentType: fc.constantFrom("application/json", "text/plain", "multipart/form-data; boundary=x"),
  });

  test(
    "makes the batch that it describes, or nothing",
    () =>
      fuzz(BODIES, body, async (input) => {
        const bytes = mutate(new TextEncoder().encode(input.text), input.mutations);
        const headers = { authorization: "Bearer sk-test", "content-type": input.contentType };
        const { status, json } = await sendChecked("/v1/batches", { method: "POST", body: bytes, headers });
        if (status === 200) {
          const order = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
          expect(json["metadata"]).toEqual(order["metadata"] ?? null);
          const id = String(json["id"]);
          expect((await sendChecked(`/v1/batches/${id}`)).json).toEqual(json);
          await endBatch(id);
        }
        expect(await countTraces()).toEqual(NO_TRACES);
      }),
    timeoutOf(BODIES),
  );
});

/** What is no character has no spelling in a URL. */
function escape(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** Latin-1 without line breaks: more does not come through a socket. Short beyond ASCII: the runtime quotes it. */
function toHeaderText(text: string): string {
  const possible = text.replaceAll(/[^\t\x20-\x7e\xa0-\xff]/g, "");
  return /[^\t -~]/.test(possible) ? possible.slice(0, 50) : possible;
}
