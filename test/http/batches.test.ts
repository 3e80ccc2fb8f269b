import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import type { BatchRecord, BatchStatus } from "../../src/domain/batch.ts";
import { MAX_JSON_BODY_BYTES } from "../../src/domain/limits.ts";
import { saveBatch } from "../../src/stores/batches.ts";
import { findFile } from "../../src/stores/files.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { ADMIN, type Answered, envelope, send, STRANGER, upload, uploadText, writeForm } from "../support/service.ts";
import { aBatch } from "../support/batch-record.ts";

const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n';
const order = { input_file_id: "file-0", endpoint: "/v1/embeddings", completion_window: "24h" };

function create(body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answered> {
  return send("/v1/batches", {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { ...ADMIN, "content-type": "application/json", ...headers },
  });
}

/** A batch that no coordinator has, as an old one that is final. */
async function saveFinal(changes: Partial<BatchRecord>): Promise<BatchRecord> {
  const batch = aBatch({ tenant: "org-default", status: "completed", createdAt: new Date(), ...changes });
  await saveBatch(await openDatabase(env.DB), batch);
  return batch;
}

describe("creating a batch", () => {
  test("answers with the whole object, and lists it", async () => {
    const input_file_id = await uploadText(LINE);
    const metadata = { customer: "ü", "": "empty name" };
    const { status, json } = await create({ ...order, input_file_id, metadata });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      id: expect.stringMatching(/^batch_[0-9a-f]{32}$/) as unknown,
      object: "batch",
      status: "validating",
      input_file_id,
      metadata,
      expires_at: Number(json?.["created_at"]) + 86_400,
      request_counts: { total: 0, completed: 0, failed: 0 },
    });
    expect(Object.keys(json ?? {})).toHaveLength(22);
    const retrieved = await send(`/v1/batches/${String(json?.["id"])}`);
    expect(retrieved.json).toMatchObject({ id: json?.["id"], created_at: json?.["created_at"], metadata });
    const listed = await send("/v1/batches?limit=1");
    expect(listed.json).toMatchObject({ first_id: json?.["id"] });
  });

  test("takes a file that nobody knows: validation will say so", async () => {
    expect(await create(order)).toMatchObject({ status: 200, json: { status: "validating" } });
  });

  test("takes no file of another purpose, but one of another tenant as if nobody knew it", async () => {
    const form = writeForm([
      { name: "purpose", content: "user_data" },
      { name: "file", filename: "a.jsonl", content: LINE },
    ]);
    const { json } = await upload(form);
    const id = String(json?.["id"]);
    const refused = await create({ ...order, input_file_id: id });
    const message = `Invalid file: '${id}' has the purpose 'user_data', but a batch takes a file with the purpose 'batch'.`;
    expect([refused.status, refused.json]).toEqual([
      400,
      envelope({ code: "invalid_value", message, param: "input_file_id" }),
    ]);
    expect((await create({ ...order, input_file_id: id }, STRANGER)).status).toBe(200);
  });

  test.each([
    ["is missing", {}, "missing_required_parameter", "input_file_id"],
    ["has another type", { ...order, metadata: { tags: [] } }, "invalid_type", "metadata.tags"],
    ["is not supported", { ...order, completion_window: "25h" }, "invalid_value", "completion_window"],
    ["is too long", { ...order, metadata: { k: "v".repeat(513) } }, "string_above_max_length", "metadata.k"],
    ["is no object", [order], "invalid_type", null],
  ])("is refused where a parameter %s", async (_, body, code, param) => {
    const { status, json } = await create(body);
    expect([status, json]).toMatchObject([400, { error: { type: "invalid_request_error", code, param } }]);
  });

  test.each([
    ["is empty", ""],
    ["is cut short", '{"input_file_id":'],
    ["is a form", "input_file_id=file-0"],
  ])("is refused where the body %s", async (_, body) => {
    const { status, json } = await create(body);
    expect([status, json]).toEqual([400, envelope({ message: "We could not parse the JSON body of your request." })]);
  });

  test.each([
    ["input_file_id", String.raw`{"input_file_id":"a\ud800","endpoint":"/v1/embeddings","completion_window":"24h"}`],
    ["a metadata key", orderWith(String.raw`{"\uDFFF":"x"}`)],
    ["a metadata value", orderWith(String.raw`{"a":"\ude00\ud83d"}`)],
    ["what nobody reads", orderWith(String.raw`{"a":"x"},"other":[{"b":"\uD83D "}]`)],
  ])("is refused when %s is no valid Unicode", async (_, body) => {
    const { status, json } = await send("/v1/batches", { method: "POST", body });
    const message = "A string in the JSON body of your request is no valid Unicode: it has a lone surrogate.";
    expect([status, json]).toEqual([400, envelope({ message })]);
  });

  test.each([
    ["a whole character spelt in two halves", String.raw`{"\uD83D\uDE00":"\ud83d\ude00"}`, { "😀": "😀" }],
    ["a backslash before the letters of an escape", String.raw`{"a":"\\ud800"}`, { a: String.raw`\ud800` }],
  ])("takes %s", async (_, metadata, expected) => {
    const created = await send("/v1/batches", { method: "POST", body: orderWith(metadata) });
    expect([created.status, created.json?.["metadata"]]).toEqual([200, expected]);
    expect((await send(`/v1/batches/${String(created.json?.["id"])}`)).json).toEqual(created.json);
  });

  /** As text, since JSON.stringify has its own spelling. */
  function orderWith(metadata: string): string {
    return `{"input_file_id":"file-0","endpoint":"/v1/embeddings","completion_window":"24h","metadata":${metadata}}`;
  }

  test("is refused where the body is one byte too long, not where it is just as long as may be", async () => {
    const text = JSON.stringify(order);
    const longest = text.padEnd(MAX_JSON_BODY_BYTES);
    expect((await create(longest)).status).toBe(200);
    const { status, json } = await create(`${longest} `);
    expect([status, json]).toEqual([413, envelope({ message: "A body may have at most 1048576 bytes." })]);
  });
});

describe("the upstream of a batch", () => {
  test.each(["echo", "echo-listed", "mock", "mock-open"])("can be %s", async (upstream) => {
    const { status, json } = await create(order, { "x-portkey-provider": upstream });
    expect(status).toBe(200);
    const row = await env.DB.prepare("SELECT upstream FROM batches WHERE id = ?1").bind(json?.["id"]).first("upstream");
    expect(row).toBe(upstream);
  });

  test.each(["openai", "Echo", "__proto__", ""])("cannot be '%s'", async (upstream) => {
    const { status, json } = await create(order, { "x-portkey-provider": upstream });
    expect([status, json]).toEqual([
      400,
      envelope({
        code: "invalid_value",
        message: `Invalid value for 'x-portkey-provider': '${upstream}'. Supported values are: 'echo', 'echo-listed', 'mock', and 'mock-open'.`,
        param: "x-portkey-provider",
      }),
    ]);
  });
});

describe("a batch", () => {
  test("of another tenant looks like one that does not exist", async () => {
    const { id } = await saveFinal({ status: "cancelled" });
    for (const [path, method] of [
      [`/v1/batches/${id}`, "GET"],
      [`/v1/batches/${id}/cancel`, "POST"],
      [`/v1/batches?after=${id}`, "GET"],
    ] as const) {
      const { status, json } = await send(path, { method, headers: STRANGER });
      expect([status, json]).toEqual([404, envelope({ message: `No batch found with id '${id}'.` })]);
    }
    expect((await send(`/v1/batches/${id}`)).status).toBe(200);
  });

  test.each(["batch_0", "file-0", "../files", "' OR 1=1 --", "💥"])("cannot be found by the id %s", async (id) => {
    const path = `/v1/batches/${encodeURIComponent(id)}`;
    for (const answer of [await send(path), await send(`${path}/cancel`, { method: "POST" })]) {
      expect([answer.status, answer.json]).toEqual([404, envelope({ message: `No batch found with id '${id}'.` })]);
    }
  });

  test.each(["completed", "failed", "expired"] satisfies BatchStatus[])(
    "that is %s cannot be cancelled",
    async (status) => {
      const { id } = await saveFinal({ status });
      const refused = await send(`/v1/batches/${id}/cancel`, { method: "POST" });
      expect([refused.status, refused.json]).toEqual([
        409,
        envelope({ message: `Cannot cancel a batch with status '${status}'.` }),
      ]);
      expect(refused.headers.get("x-should-retry")).toBe("false");
    },
  );

  test("that is cancelled already is answered as it is, whatever the body", async () => {
    const { id } = await saveFinal({ status: "cancelled" });
    for (const body of [null, "", "{", "{}"]) {
      const headers = { ...ADMIN, "content-type": "application/json" };
      const answer = await send(`/v1/batches/${id}/cancel`, { method: "POST", headers, body });
      expect([answer.status, answer.json]).toMatchObject([200, { id, status: "cancelled" }]);
    }
  });

  test("that lives can be cancelled, again and again", async () => {
    const input_file_id = await uploadText(LINE);
    // Nobody answers there, so that the batch lives until it is told not to.
    const { json } = await create({ ...order, input_file_id }, { "x-portkey-provider": "mock-open" });
    const path = `/v1/batches/${String(json?.["id"])}/cancel`;
    const first = await send(path, { method: "POST" });
    expect(first).toMatchObject({
      status: 200,
      json: { id: json?.["id"], cancelling_at: expect.any(Number) as unknown },
    });
    const second = await send(path, { method: "POST" });
    expect(second).toMatchObject({
      status: 200,
      json: { id: json?.["id"], cancelling_at: first.json?.["cancelling_at"] },
    });
  });
});

describe("the list of batches", () => {
  test("is walked page by page", async () => {
    const headers = { authorization: "Bearer sk-batch-lister", "x-portkey-provider": "mock" };
    const empty = { object: "list", data: [], first_id: null, last_id: null, has_more: false };
    expect((await send("/v1/batches", { headers })).json).toEqual(empty);
    const created: unknown[] = [];
    for (let count = 0; count < 3; count += 1) created.push((await create(order, headers)).json?.["id"]);
    const first = await send("/v1/batches?limit=2", { headers });
    expect(first.json).toMatchObject({ has_more: true });
    const second = await send(`/v1/batches?limit=2&after=${String(first.json?.["last_id"])}`, { headers });
    expect(second.json).toMatchObject({ has_more: false });
    const pages = [first, second].flatMap(({ json }) => json?.["data"] as { id: string; created_at: number }[]);
    expect(new Set(pages.map(({ id }) => id))).toEqual(new Set(created));
    expect(pages).toHaveLength(3);
    expect((await send("/v1/batches?limit=100", { headers })).json).toMatchObject({ has_more: false });
  });

  test.each([
    ["limit=0", 400, "integer_below_min_value", "limit"],
    ["limit=101", 400, "integer_above_max_value", "limit"],
    ["limit=few", 400, "invalid_type", "limit"],
    ["after=batch_0", 404, null, null],
  ])("refuses %s", async (query, expected, code, param) => {
    const { status, json } = await send(`/v1/batches?${query}`);
    expect([status, json]).toMatchObject([expected, { error: { code, param } }]);
  });
});

describe("an input file", () => {
  test("that a live batch reads is gone for its client at once, its bytes when the batch is done", async () => {
    const id = await uploadText(LINE);
    const batch = await saveFinal({ status: "in_progress", inputFileId: id });
    expect((await send(`/v1/files/${id}`, { method: "DELETE" })).status).toBe(200);
    expect((await send(`/v1/files/${id}/content`)).status).toBe(404);
    expect((await send(`/v1/files/${id}`, { method: "DELETE" })).status).toBe(404);
    expect(await findFile(env.DB, { tenant: batch.tenant, id, now: new Date() })).toBeNull();
    expect(await env.BUCKET.head(`files/${id}`)).not.toBeNull();
  });
});
