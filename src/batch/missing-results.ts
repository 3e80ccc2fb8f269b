/**
 * Gives every line that has no result its error line: it was never executed, because its batch is cancelled, expired
 * or failed, or its result is lost.
 */
import type { BatchRecord } from "../domain/batch.ts";
import { MAX_HANDED_BYTES } from "../domain/limits.ts";
import type { LineHistory } from "../domain/line-history.ts";
import type { StoredChunk, StoredLine } from "../domain/chunk.ts";
import { type ClaimedSlice, groupNeighbours } from "../domain/slices.ts";
import type { Failure } from "../domain/outcome.ts";
import { newId } from "../new-id.ts";
import { readRequest } from "../protocol/request-line.ts";
import { toMissingResultLine, type MissingReason } from "../protocol/result-line.ts";
import { putChunk } from "../stores/chunks.ts";
import { readInputLines } from "../stores/input-lines.ts";
import { chunkKey } from "../stores/object-keys.ts";

/** Lines that were never tried count neither as completed nor as failed (wire contract, "Batch object"). */
const UNEXECUTED: ReadonlySet<MissingReason> = new Set(["batch_expired", "batch_cancelled", "input_file_unavailable"]);

export interface MissingResults {
  readonly batch: BatchRecord;
  readonly reason: MissingReason;
  /** What stands in the error lines in place of the reason; a line's own last answer goes before it, but not where consumers died of it. */
  readonly answer: Failure | null;
  readonly slices: readonly ClaimedSlice[];
  readonly now: Date;
}

/** Stores the error lines chunk by chunk, one for slices that are read together; each is the caller's to settle before the next is made. */
export async function* writeMissingResults(bucket: R2Bucket, work: MissingResults): AsyncIterable<StoredChunk> {
  for (const slices of groupNeighbours(work.slices, MAX_HANDED_BYTES)) {
    const customIds = await readCustomIds(bucket, work.batch, slices);
    const encoder = new TextEncoder();
    const texts: string[] = [];
    const lines: StoredLine[] = [];
    for (const { line, history = null } of slices.flatMap((slice) => slice.lines)) {
      const id = newId("batch_req_", work.now);
      const answer = ownAnswer(work.reason, history) ?? work.answer;
      const text = toMissingResultLine({ id, customId: customIds.get(line) ?? null, reason: work.reason, answer });
      const result = history === null && UNEXECUTED.has(work.reason) ? "unexecuted" : "failed";
      texts.push(text);
      lines.push({ line, bytes: encoder.encode(text).length, result });
    }
    const key = chunkKey(work.batch.id, crypto.randomUUID());
    await putChunk(bucket, key, texts.join(""));
    yield { key, lines, usage: null };
  }
}

/** What the line was last answered; null when that is not why it has no result. */
function ownAnswer(reason: MissingReason, history: LineHistory | null): Failure | null {
  return reason === "consumer_lost" ? null : (history?.failure ?? null);
}

/** By line number. Empty when the input's bytes are gone: the lines still get their error, without their names. */
async function readCustomIds(
  bucket: R2Bucket,
  batch: BatchRecord,
  slices: readonly ClaimedSlice[],
): Promise<ReadonlyMap<number, string>> {
  const lines = await readInputLines(bucket, batch.inputFileId, slices);
  return new Map(lines?.map(({ line, text }) => [line, readRequest(text).customId]));
}
