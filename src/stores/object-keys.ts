/** Where bytes stand in R2: the names of its keys, and nothing else. */

export function fileKey(fileId: string): string {
  return `files/${fileId}`;
}

/** All chunks of a batch stand under this prefix, so that they can be listed and deleted together. */
export function chunkPrefix(batchId: string): string {
  return `batches/${batchId}/`;
}

/** @param random Makes the key new: a chunk is never written twice. */
export function chunkKey(batchId: string, random: string): string {
  return chunkPrefix(batchId) + random;
}
