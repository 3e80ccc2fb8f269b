/** Where bytes stand in R2: the names of its keys, and nothing else. */

export const FILES_PREFIX = "files/";
export const CHUNKS_PREFIX = "batches/";

export function fileKey(fileId: string): string {
  return FILES_PREFIX + fileId;
}

export function fileOfKey(key: string): string {
  return key.slice(FILES_PREFIX.length);
}

/** Kept beside a result file: it stands for a while before D1 has its row, and must not look like nobody's. */
export function resultMetadata(batchId: string): Record<string, string> {
  return { batch: batchId };
}

/** Null for a file that a client uploaded. */
export function batchOfResult(object: R2Object | null): string | null {
  return object?.customMetadata?.["batch"] ?? null;
}

/** All chunks of a batch stand under this prefix, so that they can be listed and deleted together. */
export function chunkPrefix(batchId: string): string {
  return `${CHUNKS_PREFIX}${batchId}/`;
}

/** @param random Makes the key new: a chunk is never written twice. */
export function chunkKey(batchId: string, random: string): string {
  return chunkPrefix(batchId) + random;
}

export function batchOfChunkKey(key: string): string {
  return key.slice(CHUNKS_PREFIX.length, key.indexOf("/", CHUNKS_PREFIX.length));
}
