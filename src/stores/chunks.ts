/** Chunks in R2: objects that hold result lines until their batch's files are written. R2 is strongly consistent. */
import type { ByteRange } from "../domain/file.ts";
import { chunkPrefix } from "./object-keys.ts";

/** Bytes of one chunk that follow each other. */
export interface ChunkRange extends ByteRange {
  readonly key: string;
}

/** R2 lists and deletes 1,000 keys a call. */
const KEYS_PER_CALL = 1000;

/** The chunk is stored once this has returned. */
export async function putChunk(bucket: R2Bucket, key: string, lines: Uint8Array | string): Promise<void> {
  await bucket.put(key, lines);
}

/** @throws Error when the chunk is gone, or has other bytes than were put. */
export async function readChunkRange(bucket: R2Bucket, { key, offset, length }: ChunkRange): Promise<Uint8Array> {
  const object = await bucket.get(key, { range: { offset, length } });
  if (object === null) throw new Error(`chunk ${key} is gone`);
  const bytes = new Uint8Array(await object.arrayBuffer());
  if (bytes.length !== length) throw new Error(`chunk ${key} is shorter than it was`);
  return bytes;
}

/** Those of a batch's chunks that R2 has no more: what is not listed is gone for good. */
export async function findLostChunks<Chunk extends { readonly key: string }>(
  bucket: R2Bucket,
  batchId: string,
  chunks: Iterable<Chunk>,
): Promise<readonly Chunk[]> {
  const stored = new Set<string>();
  let cursor: string | null = null;
  for (;;) {
    const page: R2Objects = await bucket.list({ prefix: chunkPrefix(batchId), ...(cursor === null ? {} : { cursor }) });
    for (const { key } of page.objects) stored.add(key);
    if (!page.truncated) return [...chunks].filter(({ key }) => !stored.has(key));
    cursor = page.cursor;
  }
}

/** All of a batch. */
export async function deleteChunks(bucket: R2Bucket, batchId: string): Promise<void> {
  for (;;) {
    const { objects, truncated } = await bucket.list({ prefix: chunkPrefix(batchId), limit: KEYS_PER_CALL });
    if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key));
    if (!truncated) return;
  }
}
