import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { MAX_FILE_BYTES, UPLOAD_PART_BYTES } from "../../src/domain/limits.ts";
import { FirstLine } from "../../src/http/first-line.ts";
import { insertFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import {
  type Answered,
  BOUNDARY,
  encode,
  envelope,
  join,
  send,
  STRANGER,
  upload,
  uploadText,
  writeForm,
} from "../support/service.ts";

const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}\n';
const NOT_JSONL = envelope({ message: "Invalid file format for Batch API. Must be .jsonl" });

const purpose = { name: "purpose", content: "batch" };
const file = { name: "file", filename: "input.jsonl", content: LINE };

async function countEverything(): Promise<{ rows: number; objects: number }> {
  const rows = (await env.DB.prepare("SELECT COUNT(*) AS rows FROM files").first<number>("rows")) ?? 0;
  return { rows, objects: (await env.BUCKET.list()).objects.length };
}

async function expectNothingLeft(attempt: () => Promise<void>): Promise<void> {
  await send("/v1/files");
  const before = await countEverything();
  await attempt();
  expect(await countEverything()).toEqual(before);
}

/** A body of unknown length, piece by piece. */
function stream(pieces: Iterable<Uint8Array>): ReadableStream {
  const iterator = pieces[Symbol.iterator]();
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      const next = iterator.next();
      if (next.done === true) {
        controller.close();
        controller.byobRequest?.respond(0);
      } else controller.enqueue(next.value);
    },
  });
}

/** A form with a file of this many bytes, its first line an object, without ever holding the whole. */
function* writeLargeForm(fileBytes: number, order: "file first" | "fields first"): Generator<Uint8Array> {
  const fields = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n`;
  if (order === "fields first") yield encode(fields);
  yield encode(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.jsonl"\r\n\r\n`);
  yield encode(LINE);
  const block = encode(" ".repeat(1024 * 1024));
  for (let rest = fileBytes - LINE.length; rest > 0; rest -= block.length) {
    yield block.slice(0, Math.min(rest, block.length));
  }
  yield encode("\r\n");
  if (order === "file first") yield encode(fields);
  yield encode(`--${BOUNDARY}--\r\n`);
}

describe("an upload", () => {
  test.each([
    ["fields first", [purpose, file]],
    ["file first", [file, purpose]],
    ["among fields that nobody knows", [{ name: "colour", content: "blue" }, file, purpose]],
  ])("is accepted with its %s", async (_, parts) => {
    const { status, headers, json } = await upload(writeForm(parts));
    expect(status).toBe(200);
    expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
    expect(headers.get("content-type")).toBe("application/json");
    expect(json).toEqual({
      id: expect.stringMatching(/^file-[0-9a-f]{32}$/) as unknown,
      object: "file",
      bytes: LINE.length,
      created_at: expect.any(Number) as unknown,
      expires_at: Number(json?.["created_at"]) + 2_592_000,
      filename: "input.jsonl",
      purpose: "batch",
      status: "processed",
      status_details: null,
    });
    const content = await send(`/v1/files/${String(json?.["id"])}/content`);
    expect(content.text).toBe(LINE);
  });

  test.each([
    ["an expiry of its own", "batch", "3600", 3600],
    ["a purpose that is kept", "user_data", null, null],
    ["a kept purpose with an expiry", "vision", "2592000", 2_592_000],
  ])("lives as long as it was told to: %s", async (_, purposeName, seconds, life) => {
    const expiry = [
      { name: "expires_after[anchor]", content: "created_at" },
      { name: "expires_after[seconds]", content: seconds ?? "" },
    ];
    const fields = [{ name: "purpose", content: purposeName }, ...(seconds === null ? [] : expiry)];
    const { json } = await upload(writeForm([...fields, file]));
    expect(json?.["expires_at"]).toBe(life === null ? null : Number(json?.["created_at"]) + life);
  });

  test.each([
    ["an object", "{}"],
    ["an object with a line break of two", '{"a":1}\r\n'],
    ["an object behind a byte-order mark", "\uFEFF{}\nrest"],
    ["an object whose later lines are no JSON", "{}\nnonsense"],
    ["an object that is a little shorter than is read", `{"a":"${"x".repeat(1_000_000)}"}\n`],
    ["an object that is longer than is read", `{"a":"${"x".repeat(2_000_000)}`],
  ])("for a batch begins with %s", async (_, content) => {
    const { status } = await upload(writeForm([{ ...file, content }, purpose]));
    expect(status).toBe(200);
  });

  test.each([
    ["nothing", ""],
    ["an empty line", "\n{}"],
    ["a list", "[]\n"],
    ["a text", '"{}"\n'],
    ["null", "null"],
    ["no JSON", "custom_id,method\n{}"],
    ["half an object", '{"a":'],
    ["an archive", "PK\u0003\u0004\u0000\u0000"],
    ["a list that is longer than is read", `[${"1,".repeat(1_000_000)}`],
  ])("for a batch does not begin with %s", async (_, content) => {
    await expectNothingLeft(async () => {
      for (const parts of [
        [{ ...file, content }, purpose],
        [purpose, { ...file, content }],
      ]) {
        const { status, json } = await upload(writeForm(parts));
        expect([status, json]).toEqual([400, NOT_JSONL]);
      }
    });
  });

  test("for another purpose may begin with anything", async () => {
    const { json } = await upload(
      writeForm([
        { ...file, content: "" },
        { name: "purpose", content: "user_data" },
      ]),
    );
    expect(json).toMatchObject({ bytes: 0, purpose: "user_data" });
  });

  test.each([
    [
      "without a file",
      [purpose],
      { code: "missing_required_parameter", message: "Missing required parameter: 'file'.", param: "file" },
    ],
    [
      "without a purpose",
      [file],
      { code: "missing_required_parameter", message: "Missing required parameter: 'purpose'.", param: "purpose" },
    ],
    [
      "with an unknown purpose",
      [file, { name: "purpose", content: "fun" }],
      {
        code: "invalid_value",
        message:
          "Invalid value: 'fun'. Supported values are: 'assistants', 'batch', 'evals', 'fine-tune', 'user_data', and 'vision'.",
        param: "purpose",
      },
    ],
    [
      "whose file is a text field",
      [purpose, { name: "file", content: LINE }],
      {
        code: "invalid_type",
        message: "Invalid type for 'file': expected a file, but got a string instead.",
        param: "file",
      },
    ],
    [
      "whose purpose is a file",
      [{ ...purpose, filename: "purpose.txt" }, file],
      {
        code: "invalid_type",
        message: "Invalid type for 'purpose': expected a string, but got a file instead.",
        param: "purpose",
      },
    ],
    [
      "with a second file of another name",
      [purpose, file, { ...file, name: "extra" }],
      { code: "unknown_parameter", message: "Unknown parameter: 'extra'.", param: "extra" },
    ],
    ["with two files", [purpose, file, file], { message: "Expected one 'file', but got more." }],
    [
      "with a huge field",
      [{ ...purpose, content: "x".repeat(8193) }, file],
      { message: "The field 'purpose' is too long." },
    ],
    [
      "with many parts",
      [...Array.from({ length: 31 }, () => purpose), file, purpose],
      { message: "A form may have at most 32 parts." },
    ],
  ])("is refused %s", async (_, parts, error) => {
    await expectNothingLeft(async () => {
      const { status, json } = await upload(writeForm(parts));
      expect([status, json]).toEqual([400, envelope(error)]);
    });
  });

  test.each([
    ["cut short", writeForm([purpose, file]).slice(0, -10), {}],
    [
      "cut short after its first part",
      join([...writeLargeForm(UPLOAD_PART_BYTES + 100, "fields first")].slice(0, -3)),
      {},
    ],
    ["under another boundary", writeForm([purpose, file], "other"), {}],
    ["as JSON", JSON.stringify({ purpose: "batch" }), { "content-type": "application/json" }],
    ["without a content type", "purpose=batch", { "content-type": "text/plain" }],
    ["without a body", "", {}],
  ])("is refused when it comes %s", async (_, body, headers) => {
    await expectNothingLeft(async () => {
      const { status, json } = await upload(body, headers);
      expect(status).toBe(400);
      expect(json).toMatchObject({ error: { type: "invalid_request_error", param: null, code: null } });
    });
  });

  test("keeps every byte of a file of many parts", async () => {
    const pieces = Array.from({ length: 20 }, (_, index) => makeNoise(1_000_003, index));
    const content = join([encode(LINE), ...pieces]);
    const { json } = await upload(stream([writeForm([{ ...file, content }, purpose])]));
    const stored = await env.BUCKET.get(fileKey(String(json?.["id"])));
    const digests = await Promise.all(
      [content, (await stored?.arrayBuffer()) ?? new ArrayBuffer()].map((bytes) =>
        crypto.subtle.digest("SHA-256", bytes),
      ),
    );
    expect(new Uint8Array(digests[1] ?? new ArrayBuffer())).toEqual(new Uint8Array(digests[0] ?? new ArrayBuffer()));
  });

  test("may have 200 MB, and not a byte more", { timeout: 120_000 }, async () => {
    const accepted = await upload(stream(writeLargeForm(MAX_FILE_BYTES, "file first")));
    expect(accepted.json).toMatchObject({ bytes: MAX_FILE_BYTES });
    expect((await send(`/v1/files/${String(accepted.json?.["id"])}`, { method: "DELETE" })).status).toBe(200);
    await expectNothingLeft(async () => {
      const { status, json } = await upload(stream(writeLargeForm(MAX_FILE_BYTES + 1, "fields first")));
      expect([status, json]).toEqual([400, envelope({ message: "File is too large." })]);
    });
  });
});

describe("the first line", () => {
  test("is judged as soon as it is known", () => {
    const line = new FirstLine();
    line.push(encode('{"a"'));
    expect(line.isObject).toBeNull();
    line.push(encode(":1}\n"));
    expect(line.isObject).toBe(true);
    line.push(encode("nonsense\n"));
    line.finish();
    expect(line.isObject).toBe(true);
  });

  test("may be cut anywhere, even within a character or the byte-order mark", () => {
    const bytes = encode('\uFEFF{"a":"猫"}\n');
    for (let cut = 0; cut < bytes.length; cut += 1) {
      const line = new FirstLine();
      line.push(bytes.slice(0, cut));
      line.push(bytes.slice(cut));
      expect(line.isObject).toBe(true);
    }
  });
});

describe("a file", () => {
  test("is retrieved, deleted, and then unknown", async () => {
    const id = await uploadText(LINE);
    expect((await send(`/v1/files/${id}`)).json).toMatchObject({ id, object: "file", purpose: "batch" });
    const deleted = await send(`/v1/files/${id}`, { method: "DELETE" });
    expect([deleted.status, deleted.json]).toEqual([200, { id, object: "file", deleted: true }]);
    expect(await env.BUCKET.head(fileKey(id))).toBeNull();
    expect(await askEverywhere(id)).toEqual(unknown(id));
  });

  test("that has expired is unknown, whether or not it was swept", async () => {
    const id = `file-${crypto.randomUUID()}`;
    const past = new Date(Date.now() - 1000);
    await env.BUCKET.put(fileKey(id), LINE);
    await insertFile(env.DB, {
      id,
      tenant: "org-default",
      purpose: "batch",
      filename: "old.jsonl",
      bytes: LINE.length,
      createdAt: past,
      expiresAt: past,
    });
    expect(await askEverywhere(id)).toEqual(unknown(id));
  });

  test.each([
    ["of nobody", "file-0"],
    ["of another kind", "batch_1"],
    ["with a path in it", "../secret"],
    ["with SQL in it", "' OR 1=1 --"],
    ["of a picture", "💥"],
    ["that can just be quoted", "x".repeat(100)],
  ])("cannot be found by an id %s", async (_, id) => {
    expect(await askEverywhere(id)).toEqual(unknown(id));
  });

  test("cannot be found by an id that is very long, of which the refusal quotes the beginning", async () => {
    expect(await askEverywhere("x".repeat(101))).toEqual(unknown(`${"x".repeat(100)}…`));
  });

  test("of another tenant looks like one that does not exist", async () => {
    const id = await uploadText(LINE);
    for (const [path, method] of [
      [`/v1/files/${id}`, "GET"],
      [`/v1/files/${id}`, "DELETE"],
      [`/v1/files/${id}/content`, "GET"],
      [`/v1/files?after=${id}`, "GET"],
    ] as const) {
      const { status, json } = await send(path, { method, headers: STRANGER });
      expect([status, json]).toEqual([404, envelope({ message: `No such File object: ${id}`, param: "id" })]);
    }
    expect((await send("/v1/files", { headers: STRANGER })).json).toMatchObject({ data: [] });
    expect((await send(`/v1/files/${id}`)).status).toBe(200);
  });
});

describe("the list of files", () => {
  test("is walked page by page, by purpose and either way round", async () => {
    const headers = { authorization: "Bearer sk-lister", "x-portkey-provider": "mock" };
    expect((await send("/v1/files", { headers })).json).toEqual({
      object: "list",
      data: [],
      first_id: null,
      last_id: null,
      has_more: false,
    });
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1) ids.push(await uploadText(LINE, headers));
    const other = await upload(writeForm([{ name: "purpose", content: "evals" }, file]), headers);
    const all = await send("/v1/files?purpose=batch&order=asc", { headers });
    const sorted = idsOf(all);
    expect(new Set(sorted)).toEqual(new Set(ids));
    const newestFirst = await send("/v1/files?purpose=batch", { headers });
    expect(idsOf(newestFirst)).toEqual(sorted.toReversed());
    const first = await send("/v1/files?purpose=batch&order=asc&limit=2", { headers });
    expect(first.json).toMatchObject({ first_id: sorted[0], last_id: sorted[1], has_more: true });
    const second = await send(`/v1/files?purpose=batch&order=asc&limit=2&after=${sorted[1]}`, { headers });
    expect(second.json).toMatchObject({ first_id: sorted[2], last_id: sorted[2], has_more: false });
    const evals = await send("/v1/files?purpose=evals", { headers });
    expect(evals.json).toMatchObject({ data: [other.json], has_more: false });
    expect((await send("/v1/files?purpose=nonsense", { headers })).json).toMatchObject({ data: [] });
  });

  test.each([
    ["limit=0", 400, "integer_below_min_value", "limit"],
    ["limit=10001", 400, "integer_above_max_value", "limit"],
    ["limit=many", 400, "invalid_type", "limit"],
    ["order=up", 400, "invalid_value", "order"],
    ["after=file-0", 404, null, "id"],
  ])("refuses %s", async (query, expected, code, param) => {
    const { status, json } = await send(`/v1/files?${query}`);
    expect([status, json]).toMatchObject([expected, { error: { code, param } }]);
  });
});

/** What is said of a file by every route that asks for one. */
async function askEverywhere(id: string): Promise<[number, unknown][]> {
  const path = `/v1/files/${encodeURIComponent(id)}`;
  const answers = [await send(path), await send(path, { method: "DELETE" }), await send(`${path}/content`)];
  return answers.map(({ status, json }) => [status, json]);
}

function unknown(id: string): [number, unknown][] {
  return Array.from({ length: 3 }, () => [404, envelope({ message: `No such File object: ${id}`, param: "id" })]);
}

function idsOf({ json }: Answered): string[] {
  return (json?.["data"] as { id: string }[] | undefined)?.map(({ id }) => id) ?? [];
}

/** Bytes that repeat too seldom for a mixed-up order to go unnoticed. */
function makeNoise(length: number, seed: number): Uint8Array {
  const noise = new Uint8Array(length);
  for (let index = 0; index < length; index += 1) noise[index] = (index * (seed + 7)) % 251;
  return noise;
}
