import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { deleteChunks, findLostChunks, putChunk, readChunkRange } from "../../src/stores/chunks.ts";
import { chunkKey } from "../../src/stores/object-keys.ts";

const bucket = env.BUCKET;

async function putSome(batchId: string, count: number): Promise<{ readonly key: string }[]> {
  const chunks = Array.from({ length: count }, () => ({ key: chunkKey(batchId, crypto.randomUUID()) }));
  await Promise.all(chunks.map(({ key }) => putChunk(bucket, key, "0123456789")));
  return chunks;
}

function makeBatchId(): string {
  return `batch_${crypto.randomUUID()}`;
}

describe("readChunkRange", () => {
  test("reads the bytes asked for and no others", async () => {
    const [chunk = { key: "" }] = await putSome(makeBatchId(), 1);
    const bytes = await readChunkRange(bucket, { ...chunk, offset: 3, length: 4 });
    expect(new TextDecoder().decode(bytes)).toBe("3456");
  });

  test("says so when the chunk is gone or too short", async () => {
    const batchId = makeBatchId();
    const [chunk = { key: "" }] = await putSome(batchId, 1);
    await expect(readChunkRange(bucket, { ...chunk, offset: 8, length: 3 })).rejects.toThrow("is shorter than it was");
    await deleteChunks(bucket, batchId);
    await expect(readChunkRange(bucket, { ...chunk, offset: 0, length: 1 })).rejects.toThrow("is gone");
  });
});

test("findLostChunks finds those that are not stored, and no others", async () => {
  const batchId = makeBatchId();
  const stored = await putSome(batchId, 3);
  const lost = { key: chunkKey(batchId, "never-stored") };
  expect(await findLostChunks(bucket, batchId, [...stored, lost])).toEqual([lost]);
});

test("deleteChunks deletes those of its batch alone", async () => {
  const [batchId, otherId] = [makeBatchId(), makeBatchId()];
  const chunks = await putSome(batchId, 3);
  const others = await putSome(otherId, 2);
  await deleteChunks(bucket, batchId);
  expect(await findLostChunks(bucket, batchId, chunks)).toEqual(chunks);
  expect(await findLostChunks(bucket, otherId, others)).toEqual([]);
});
