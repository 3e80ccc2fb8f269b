import { env } from "cloudflare:workers";
import { expect, test, vi } from "vitest";
import { type Results, writeResultFiles } from "../../src/batch/finalize.ts";
import type { StoredChunk } from "../../src/domain/chunk.ts";
import { chunkKey, fileKey, FILES_PREFIX } from "../../src/stores/object-keys.ts";
import { NOON, HeldBatch } from "../support/held-batch.ts";

const MIB = 1024 * 1024;
/** The least that R2 takes. */
const PART_BYTES = 5 * MIB;
const LINES = 12;

/** Results of a little over a mebibyte each, whose order in the chunks is not that of the input. */
async function storeResults(): Promise<{ readonly results: Results; readonly text: string }> {
  const { record: batch } = await HeldBatch.prepare();
  const texts = Array.from({ length: LINES }, (_, line) => `${line}:`.padEnd(MIB + line, "abcdefghij").concat("\n"));
  const chunks: StoredChunk[] = [];
  for (const remainder of [1, 0, 2]) {
    const lines = [...texts.keys()].filter((line) => line % 3 === remainder);
    const key = chunkKey(batch.id, crypto.randomUUID());
    await env.BUCKET.put(key, lines.map((line) => texts[line]).join(""));
    const stored = lines.map((line) => ({ line, bytes: texts[line]?.length ?? 0, result: "completed" as const }));
    chunks.push({ key, lines: stored, usage: null });
  }
  const counts = { total: LINES, completed: LINES, failed: 0 };
  return { results: { batch: { ...batch, counts }, chunks, createdAt: NOON }, text: texts.join("") };
}

test.each([
  ["in one put", LINES * 2 * MIB, 0],
  ["in parts", PART_BYTES, 1],
])("a result file that is written %s holds every line in input order", async (_how, partBytes, multiparts) => {
  const { results, text } = await storeResults();
  const multipart = vi.spyOn(env.BUCKET, "createMultipartUpload");
  const { output, error } = await writeResultFiles(env.BUCKET, { ...results, partBytes });
  expect(multipart).toHaveBeenCalledTimes(multiparts);
  multipart.mockRestore();
  expect(error).toBeNull();
  expect(output?.bytes).toBe(text.length);
  const object = await env.BUCKET.get(fileKey(output?.id ?? ""));
  expect(object?.customMetadata).toEqual({ batch: results.batch.id });
  expect((await object?.text()) === text).toBe(true);
});

test.each([
  [0, 0],
  [1, 1],
])(
  "a result file that is %i bytes longer than a part is written in %i multipart uploads",
  async (longer, multiparts) => {
    const { results, text } = await storeResults();
    const multipart = vi.spyOn(env.BUCKET, "createMultipartUpload");
    const { output } = await writeResultFiles(env.BUCKET, { ...results, partBytes: text.length - longer });
    expect(multipart).toHaveBeenCalledTimes(multiparts);
    multipart.mockRestore();
    const object = await env.BUCKET.get(fileKey(output?.id ?? ""));
    expect((await object?.text()) === text).toBe(true);
  },
);

test("one whose part fails leaves neither parts nor object", async () => {
  const { results } = await storeResults();
  const keysBefore = await listFileKeys();
  const [lost] = results.chunks;
  await env.BUCKET.delete(lost?.key ?? "");
  const create = env.BUCKET.createMultipartUpload.bind(env.BUCKET);
  const aborts: unknown[] = [];
  vi.spyOn(env.BUCKET, "createMultipartUpload").mockImplementationOnce(async (...call) => {
    const upload = await create(...call);
    aborts.push(vi.spyOn(upload, "abort"));
    return upload;
  });
  await expect(writeResultFiles(env.BUCKET, { ...results, partBytes: PART_BYTES })).rejects.toThrow("is gone");
  expect(aborts).toHaveLength(1);
  expect(aborts[0]).toHaveBeenCalledOnce();
  expect(await listFileKeys()).toEqual(keysBefore);
});

async function listFileKeys(): Promise<readonly string[]> {
  const { objects } = await env.BUCKET.list({ prefix: FILES_PREFIX });
  return objects.map(({ key }) => key);
}
