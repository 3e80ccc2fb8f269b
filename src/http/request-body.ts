/** Reads request bodies in bounded memory: as a run of byte blocks, as one JSON value, or to be rid of them. */
import { readInBlocks } from "../byte-blocks.ts";
import { MAX_FILE_BYTES, MAX_JSON_BODY_BYTES } from "../domain/limits.ts";
import { isUnicode, parseJson } from "../protocol/json.ts";
import { NOT_JSON, NOT_UNICODE } from "../protocol/request-problems.ts";
import { ApiError, plainError } from "./api-error.ts";

/** Ours: how much of a body that nobody wants is read at most, so that its sender sees the answer. */
const MAX_DRAINED_BYTES = MAX_FILE_BYTES + 64 * 1024 * 1024;

/**
 * Each block is valid until the next one is asked for.
 * @throws ApiError 400 when the client hangs up before the end.
 */
export async function* readBody(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  try {
    // What the caller throws while it has a block does not come by here.
    yield* readInBlocks(body);
  } catch {
    throw plainError(400, "The request body ended too early.");
  }
}

/** @throws ApiError 413 for a body beyond the limit, 400 for one that is not JSON or holds what is no text. */
export async function readJson(request: Request): Promise<unknown> {
  const parsed = parseJson(await readText(request.body));
  if (!parsed.ok) throw new ApiError(400, NOT_JSON);
  if (!isUnicode(parsed.value)) throw new ApiError(400, NOT_UNICODE);
  return parsed.value;
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
    for await (const block of readBody(body)) {
      drainedBytes += block.length;
      if (drainedBytes > MAX_DRAINED_BYTES) break;
    }
    await body.cancel();
  } catch {
    // The client is gone: nobody waits for the answer.
  }
}

async function readText(body: ReadableStream<Uint8Array> | null): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const block of readBody(body)) {
    bytes += block.length;
    if (bytes > MAX_JSON_BODY_BYTES) throw plainError(413, `A body may have at most ${MAX_JSON_BODY_BYTES} bytes.`);
    text += decoder.decode(block, { stream: true });
  }
  return text + decoder.decode();
}
