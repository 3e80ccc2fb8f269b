/** Reads request bodies in bounded memory: as a run of byte chunks, as one JSON value, or to be rid of them. */
import { MAX_FILE_BYTES, MAX_JSON_BODY_BYTES } from "../domain/limits.ts";
import { plainError } from "./api-error.ts";

/** A default reader hands out 4 KiB at a time; reads of this size are several times faster. */
const READ_BYTES = 256 * 1024;

/** Ours: how much of a body that nobody wants is read at most, so that its sender sees the answer. */
const MAX_DRAINED_BYTES = MAX_FILE_BYTES + 64 * 1024 * 1024;

/**
 * Each chunk is valid until the next one is asked for: they share one buffer.
 * @throws ApiError 400 when the client hangs up before the end.
 */
export async function* readChunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = body.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(READ_BYTES);
  try {
    for (;;) {
      const { value, done } = await readFully(reader, buffer);
      if (value !== undefined && value.length > 0) yield value;
      if (done) return;
      buffer = value.buffer;
    }
  } finally {
    reader.releaseLock();
  }
}

/** @throws ApiError 413 for a body beyond the limit, 400 for one that is not JSON or holds what is no text. */
export async function readJson(request: Request): Promise<unknown> {
  const text = await readText(request.body);
  try {
    const value: unknown = JSON.parse(text);
    if (!hasLoneSurrogate(text)) return value;
  } catch {
    throw plainError(400, "We could not parse the JSON body of your request.");
  }
  throw plainError(400, "A string in the JSON body of your request is no valid Unicode: it has a lone surrogate.");
}

/**
 * JSON can spell half of a character (`\ud800`), which no UTF-8 can hold: D1 would store something else than was
 * answered (RFC 8259, 8.2). One rule for names and values alike.
 */
function hasLoneSurrogate(json: string): boolean {
  if (!/\\u[dD][89a-fA-F]/.test(json)) return false;
  let found = false;
  JSON.parse(json, (name, value: unknown) => {
    found ||= !name.isWellFormed() || (typeof value === "string" && !value.isWellFormed());
    return value;
  });
  return found;
}

/**
 * Reads what is left of a body that the answer did not need. Answering before a body has been read makes
 * clients see a closed connection instead of the answer; whoever sends without end is cut off.
 */
export async function drainBody(request: Request): Promise<void> {
  const body: ReadableStream<Uint8Array> | null = request.body;
  if (body === null || body.locked) return;
  let drainedBytes = 0;
  try {
    for await (const chunk of readChunks(body)) {
      drainedBytes += chunk.length;
      if (drainedBytes > MAX_DRAINED_BYTES) break;
    }
    await body.cancel();
  } catch {
    // The client is gone: nobody waits for the answer.
  }
}

async function readFully(reader: ReadableStreamBYOBReader, buffer: ArrayBuffer) {
  try {
    return await reader.readAtLeast(READ_BYTES, new Uint8Array(buffer));
  } catch {
    throw plainError(400, "The request body ended too early.");
  }
}

async function readText(body: ReadableStream<Uint8Array> | null): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of readChunks(body)) {
    bytes += chunk.length;
    if (bytes > MAX_JSON_BODY_BYTES) throw plainError(413, `A body may have at most ${MAX_JSON_BODY_BYTES} bytes.`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
