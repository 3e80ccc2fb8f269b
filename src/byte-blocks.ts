/** Reads a stream of bytes in blocks of a fair size. Knows nothing of where they come from. */

/** A default reader hands out 4 KiB at a time, which takes three times as long. */
const BLOCK_BYTES = 256 * 1024;

/**
 * Each block is valid until the next one is asked for: they share one buffer. Whoever stops early cancels the
 * stream, which is not locked any more by then.
 * @throws what the stream throws.
 */
export async function* readInBlocks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = body.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(BLOCK_BYTES);
  try {
    for (;;) {
      const { value, done } = await reader.readAtLeast(BLOCK_BYTES, new Uint8Array(buffer));
      if (value !== undefined && value.length > 0) yield value;
      if (done) return;
      buffer = value.buffer;
    }
  } finally {
    reader.releaseLock();
  }
}
