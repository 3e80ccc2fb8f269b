/** The official SDK, unchanged, against the Worker: what it sends is accepted, what it reads is there. */
import { exports } from "cloudflare:workers";
import OpenAI, { toFile } from "openai";
import { describe, expect, test } from "vitest";

const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n';

function makeClient(apiKey = "sk-test", headers: Readonly<Record<string, string>> = {}): OpenAI {
  return new OpenAI({
    apiKey,
    baseURL: "https://nightshift.test/v1",
    defaultHeaders: headers,
    maxRetries: 0,
    fetch: (url, init) => exports.default.fetch(new Request(url, init)),
  });
}

/** A client that nobody shares its lists with. */
function makeTenant(name: string): OpenAI {
  return makeClient(`sk-${name}`, { "x-portkey-provider": "mock" });
}

async function uploadLine(client: OpenAI): Promise<string> {
  const { id } = await client.files.create({ file: await toFile(new Blob([LINE]), "input.jsonl"), purpose: "batch" });
  return id;
}

describe("files of the SDK", () => {
  const client = makeClient();

  test("are created, retrieved, read and deleted", async () => {
    const file = await client.files.create({
      file: await toFile(new Blob([LINE]), "naïve 猫.jsonl"),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 3600 },
    });
    expect(file).toMatchObject({ object: "file", bytes: LINE.length, filename: "naïve 猫.jsonl", status: "processed" });
    expect(file.expires_at).toBe(file.created_at + 3600);
    expect(await client.files.retrieve(file.id)).toEqual(file);
    expect(await (await client.files.content(file.id)).text()).toBe(LINE);
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: "file", deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test("can be raw bytes", async () => {
    const bytes = new TextEncoder().encode(LINE);
    const file = await client.files.create({ file: await toFile(bytes), purpose: "batch" });
    expect(file.bytes).toBe(LINE.length);
  });

  test("are walked over all pages", async () => {
    const tenant = makeTenant("files");
    const ids = new Set<string>();
    for (let count = 0; count < 5; count += 1) ids.add(await uploadLine(tenant));
    const seen: string[] = [];
    for await (const file of tenant.files.list({ limit: 2, order: "asc", purpose: "batch" })) seen.push(file.id);
    expect(new Set(seen)).toEqual(ids);
    expect(seen).toHaveLength(5);
  });

  test("that are not accepted are bad requests", async () => {
    const creating = client.files.create({
      file: await toFile(new Blob(["nonsense"]), "input.jsonl"),
      purpose: "batch",
    });
    await expect(creating).rejects.toMatchObject({
      status: 400,
      error: { message: "Invalid file format for Batch API. Must be .jsonl", code: null, param: null },
      requestID: expect.stringMatching(/^req_/) as unknown,
    });
  });
});

describe("batches of the SDK", () => {
  test("are created, retrieved and cancelled", async () => {
    // Nobody answers there, so that the batch lives until it is told not to.
    const client = makeTenant("batches");
    const batch = await client.batches.create({
      input_file_id: await uploadLine(client),
      endpoint: "/v1/embeddings",
      completion_window: "24h",
      metadata: { customer: "c-1" },
      output_expires_after: { anchor: "created_at", seconds: 3600 },
    });
    expect(batch).toMatchObject({ object: "batch", status: "validating", metadata: { customer: "c-1" } });
    expect(await client.batches.retrieve(batch.id)).toMatchObject({ id: batch.id, created_at: batch.created_at });
    const cancelled = await client.batches.cancel(batch.id);
    expect(["cancelling", "cancelled"]).toContain(cancelled.status);
    expect((await client.batches.cancel(batch.id)).cancelling_at).toBe(cancelled.cancelling_at);
  });

  test("are walked over all pages", async () => {
    const client = makeTenant("lists");
    const ids = new Set<string>();
    for (let count = 0; count < 5; count += 1) {
      const { id } = await client.batches.create({
        input_file_id: "file-0",
        endpoint: "/v1/embeddings",
        completion_window: "24h",
      });
      ids.add(id);
    }
    const seen: string[] = [];
    for await (const batch of client.batches.list({ limit: 2 })) seen.push(batch.id);
    expect(new Set(seen)).toEqual(ids);
    expect(seen).toHaveLength(5);
  });

  test("are refused with the SDK's own errors", async () => {
    const client = makeClient();
    const creating = client.batches.create({ input_file_id: "file-0", endpoint: "/v1/embeddings" } as never);
    await expect(creating).rejects.toMatchObject({
      status: 400,
      code: "missing_required_parameter",
      param: "completion_window",
    });
    await expect(client.batches.retrieve("batch_0")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(makeClient("sk-wrong").batches.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
  });
});
