/** The Files API, the lists, and providers' own keys, by the official SDK against a real `wrangler dev`. */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  chatLine,
  CONFIGURED_UPSTREAM_KEY,
  createBatch,
  type Nightshift,
  readResults,
  startNightshift,
  waitForBatch,
} from "./nightshift.ts";
import { UNKNOWN_KEY } from "./fake-upstream.ts";

const EXAMPLE = path.resolve(import.meta.dirname, "../../examples/requests.jsonl");

let nightshift: Nightshift;

beforeAll(async () => {
  nightshift = await startNightshift({ PASS_THROUGH: "true" });
});

afterAll(() => nightshift.stop());

describe("files", () => {
  test("go up from a stream, are listed, read back byte for byte, and deleted", async () => {
    const { client } = nightshift;
    const bytes = await readFile(EXAMPLE);
    const created = await client.files.create({ file: createReadStream(EXAMPLE), purpose: "batch" });

    expect(created).toMatchObject({
      object: "file",
      bytes: bytes.length,
      filename: "requests.jsonl",
      purpose: "batch",
      status: "processed",
    });
    await expect(client.files.retrieve(created.id)).resolves.toEqual(created);
    const content = await client.files.content(created.id);
    expect(Buffer.from(await content.arrayBuffer()).equals(bytes)).toBe(true);
    expect(content.headers.get("content-length")).toBe(String(bytes.length));

    const range = await fetch(`${nightshift.origin}/v1/files/${created.id}/content`, {
      headers: { authorization: `Bearer ${client.apiKey}`, range: "bytes=10-19" },
    });
    expect(range.status).toBe(206);
    await expect(range.text()).resolves.toBe(bytes.subarray(10, 20).toString());

    await expect(client.files.delete(created.id)).resolves.toEqual({ id: created.id, object: "file", deleted: true });
    await expect(client.files.retrieve(created.id)).rejects.toMatchObject({ status: 404, param: "id" });
    await expect(client.files.content(created.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test("are refused when they are no JSON Lines, and leave nothing behind", async () => {
    const { client } = nightshift;
    const idsBefore = await collectIds(client.files.list());

    const refused = client.files.create({ file: await toFile(Buffer.from("a,b\n1,2\n"), "a.csv"), purpose: "batch" });

    await expect(refused).rejects.toMatchObject({ status: 400, type: "invalid_request_error" });
    await expect(collectIds(client.files.list())).resolves.toEqual(idsBefore);
  });

  test("and batches are walked through page by page, newest first", async () => {
    const { client } = nightshift;
    const batchIds: string[] = [];
    const fileIds: string[] = [];
    for (const line of ["page-1", "page-2", "page-3"]) {
      const batch = await createBatch(client, [chatLine({ line })]);
      batchIds.unshift(batch.id);
      fileIds.unshift(batch.input_file_id);
      await waitForBatch(client, batch.id);
    }

    const listedBatches = await collectIds(client.batches.list({ limit: 1 }));
    const listedFiles = await collectIds(client.files.list({ limit: 2, purpose: "batch" }));
    expect(listedBatches.filter((id) => batchIds.includes(id))).toEqual(batchIds);
    expect(listedFiles.filter((id) => fileIds.includes(id))).toEqual(fileIds);
  });
});

describe("a provider's own key", () => {
  const PROVIDER_KEY = "sk-own-key-of-a-tenant-4f7c1e";
  const STRANGERS_KEY = "sk-own-key-of-a-stranger-90ab";

  test("goes upstream, owns what was made with it, and is never printed", async () => {
    const { upstream } = nightshift;
    const tenant = clientWith(PROVIDER_KEY);
    const created = await createBatch(tenant, [chatLine({ line: "own-key-1" }), chatLine({ line: "own-key-2" })]);

    const batch = await waitForBatch(tenant, created.id);

    expect(batch).toMatchObject({ status: "completed", request_counts: { total: 2, completed: 2, failed: 0 } });
    await expect(readResults(tenant, batch.output_file_id)).resolves.toHaveLength(2);
    const keys = upstream.received.filter(({ line }) => line.startsWith("own-key-")).map((one) => one.authorization);
    expect(keys).toEqual([`Bearer ${PROVIDER_KEY}`, `Bearer ${PROVIDER_KEY}`]);

    for (const stranger of [clientWith(STRANGERS_KEY), nightshift.client]) {
      await expect(stranger.batches.retrieve(created.id)).rejects.toMatchObject({ status: 404 });
      await expect(stranger.files.retrieve(created.input_file_id)).rejects.toMatchObject({ status: 404 });
      await expect(stranger.files.content(batch.output_file_id ?? "")).rejects.toMatchObject({ status: 404 });
    }
    expect(nightshift.log()).toContain(created.id);
    for (const secret of [PROVIDER_KEY, CONFIGURED_UPSTREAM_KEY, "answer to own-key-1"]) {
      expect(nightshift.log()).not.toContain(secret);
    }
  });

  test("stores nothing when its provider does not know it", async () => {
    const guest = clientWith(UNKNOWN_KEY);

    const upload = createBatch(guest, [chatLine({ line: "unknown-key" })]);

    await expect(upload).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
    await expect(collectIds(guest.files.list())).resolves.toEqual([]);
    expect(nightshift.log()).toContain("guest_not_admitted");
    expect(nightshift.log()).not.toContain(UNKNOWN_KEY);
  });

  test("is nobody's without the header that names its upstream", async () => {
    const client = new OpenAI({ baseURL: `${nightshift.origin}/v1`, apiKey: PROVIDER_KEY });

    await expect(client.files.list()).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
  });
});

function clientWith(guestKey: string): OpenAI {
  return new OpenAI({
    baseURL: `${nightshift.origin}/v1`,
    apiKey: guestKey,
    defaultHeaders: { "x-portkey-provider": "fake" },
  });
}

/** Over all pages. */
async function collectIds(list: AsyncIterable<{ readonly id: string }>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of list) ids.push(id);
  return ids;
}
