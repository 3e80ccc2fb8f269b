/**
 * Gives every line that has no result its error line: it was never executed, because its batch is cancelled, expired
 * or failed, or its result is lost.
 */
import type { BatchRecord } from "../domain/batch.ts";
import type { ClaimedSlice } from "../domain/slices.ts";
import { makeId } from "../domain/ids.ts";
import { LineSplitter } from "../domain/jsonl.ts";
import { MAX_LINE_BYTES } from "../domain/limits.ts";
import { rawMember } from "../domain/raw-json.ts";
import { groupNeighbours } from "../domain/slices.ts";
import { toMissingResultLine, type MissingReason } from "../protocol/result-line.ts";
import { chunkKey, fileKey } from "../stores/object-keys.ts";
import type { StoredChunk, StoredLine } from "../domain/chunk.ts";

/** Neighbouring slices are read together up to this size, and make one chunk. */
const MAX_READ_BYTES = 4 * 1024 * 1024;

export interface MissingResults {
  readonly batch: BatchRecord;
  readonly reason: MissingReason;
  readonly slices: readonly ClaimedSlice[];
  readonly now: Date;
}

/** Stores the error lines chunk by chunk; each is the caller's to settle before the next is made. */
export async function* writeMissingResults(bucket: R2Bucket, work: MissingResults): AsyncIterable<StoredChunk> {
  for (const slices of groupNeighbours(work.slices, MAX_READ_BYTES)) {
    const customIds = await readCustomIds(bucket, work.batch, slices);
    const encoder = new TextEncoder();
    const texts: string[] = [];
    const result = work.reason === "result_lost" ? "failed" : "unexecuted";
    const lines: StoredLine[] = [];
    for (const { line } of slices.flatMap((slice) => slice.lines)) {
      const id = makeId("batch_req_", work.now, crypto.getRandomValues(new Uint8Array(12)));
      const text = toMissingResultLine({ id, customId: customIds.get(line) ?? null, reason: work.reason });
      texts.push(text);
      lines.push({ line, bytes: encoder.encode(text).length, result });
    }
    const key = chunkKey(work.batch.id, crypto.randomUUID());
    await bucket.put(key, texts.join(""));
    yield { key, lines, usage: null };
  }
}

/** By line number. Empty when the input's bytes are gone: the lines still get their error, without their names. */
async function readCustomIds(
  bucket: R2Bucket,
  batch: BatchRecord,
  slices: readonly ClaimedSlice[],
): Promise<ReadonlyMap<number, string>> {
  const customIds = new Map<number, string>();
  const first = slices[0];
  const last = slices.at(-1);
  if (first === undefined || last === undefined) return customIds;
  const length = last.byteStart + last.byteLength - first.byteStart;
  const object = await bucket.get(fileKey(batch.inputFileId), { range: { offset: first.byteStart, length } });
  if (object === null) return customIds;
  const decoder = new TextDecoder();
  let number = first.firstLine;
  const splitter = new LineSplitter(MAX_LINE_BYTES, ({ bytes }) => {
    const customId = rawMember(decoder.decode(bytes ?? new Uint8Array()), "custom_id");
    if (customId !== null) customIds.set(number, JSON.parse(customId) as string);
    number += 1;
  });
  splitter.push(new Uint8Array(await object.arrayBuffer()));
  splitter.end();
  return customIds;
}
