/** Finds results that are lost for good. R2 is strongly consistent: a chunk that is not listed is gone. */
import { chunkPrefix } from "../stores/object-keys.ts";
import type { StoredChunk } from "../domain/chunk.ts";

/** Those of a batch's chunks that R2 has no more. */
export async function findLostChunks(
  bucket: R2Bucket,
  batchId: string,
  chunks: Iterable<StoredChunk>,
): Promise<readonly StoredChunk[]> {
  const stored = new Set<string>();
  let cursor: string | null = null;
  for (;;) {
    const page: R2Objects = await bucket.list({ prefix: chunkPrefix(batchId), ...(cursor === null ? {} : { cursor }) });
    for (const { key } of page.objects) stored.add(key);
    if (!page.truncated) return [...chunks].filter(({ key }) => !stored.has(key));
    cursor = page.cursor;
  }
}
