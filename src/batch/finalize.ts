/**
 * Writes a batch's output and error files from its chunks, in input order, block by block: no byte of them is
 * looked at. Repeatable: ids and keys follow from the batch, so a run that was cut off is simply done again.
 */
import type { BatchRecord } from "../domain/batch.ts";
import type { FileRecord } from "../domain/file.ts";
import { makeId, RANDOM_ID_BYTES } from "../domain/ids.ts";
import { DEFAULT_FILE_LIFE_SECONDS } from "../domain/limits.ts";
import {
  type ChunkRead,
  cutPieces,
  orderResults,
  type OrderedFile,
  planReads,
  type ReadBlock,
  type ResultFile,
} from "../domain/result-files.ts";
import { readChunkRange } from "../stores/chunks.ts";
import { putResult, putResultInParts, type ResultPiece } from "../stores/result-objects.ts";
import type { StoredChunk, StoredLine } from "../domain/chunk.ts";

/** Held at a time: one being read, what is read for it, and one being written. */
const BLOCK_BYTES = 2 * 1024 * 1024;
/** developers.cloudflare.com/r2/platform/limits: 5 GiB in one put, 10,000 parts in a multipart upload. */
const PART_BYTES = 1024 ** 3;
/** With the put that waits for its answer, these are the six connections allowed. */
const READS_AT_ONCE = 5;

export interface ResultFiles {
  /** Null: no line succeeded. */
  readonly output: FileRecord | null;
  /** Null: no line failed, and none was left unexecuted. */
  readonly error: FileRecord | null;
}

export interface Results {
  readonly batch: BatchRecord;
  readonly chunks: Iterable<StoredChunk>;
  /** When the files count as created: better the same in every run. */
  readonly createdAt: Date;
  /** A longer file is put in parts of this many bytes; at least R2's 5 MiB. */
  readonly partBytes?: number;
}

export async function writeResultFiles(bucket: R2Bucket, results: Results): Promise<ResultFiles> {
  const files = orderResults(placeLines(results.chunks), results.batch.counts.total);
  const writeFile = async (kind: ResultFile, ordered: OrderedFile): Promise<FileRecord | null> => {
    const { bytes } = ordered;
    if (bytes === 0) return null;
    const file = { ...(await describeFile(results, kind)), bytes };
    const object = { fileId: file.id, batchId: results.batch.id };
    const partBytes = results.partBytes ?? PART_BYTES;
    if (bytes <= partBytes) {
      await putResult(bucket, object, toPiece(bucket, ordered));
    } else {
      await putResultInParts(bucket, object, toPieces(bucket, cutPieces(ordered.segments, partBytes)));
    }
    return file;
  };
  return { output: await writeFile("output", files.output), error: await writeFile("error", files.error) };
}

function* toPieces(bucket: R2Bucket, files: Iterable<OrderedFile>): Iterable<ResultPiece> {
  for (const file of files) yield toPiece(bucket, file);
}

function toPiece(bucket: R2Bucket, { segments, bytes }: OrderedFile): ResultPiece {
  return { bytes, writeTo: (target) => copyBlocks(bucket, planReads(segments, BLOCK_BYTES), target) };
}

/** Reads a block while the one before is on its way. */
async function copyBlocks(bucket: R2Bucket, blocks: Iterable<ReadBlock>, target: WritableStream): Promise<void> {
  const writer = target.getWriter();
  let writing = Promise.resolve();
  try {
    for (const block of blocks) {
      const bytes = await readBlock(bucket, block);
      await writing;
      writing = writer.write(bytes);
      // Whoever awaits it sees the failure; until then it must not count as unhandled.
      writing.catch(() => {});
    }
    await writing;
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {});
    throw error;
  }
}

async function readBlock(bucket: R2Bucket, { bytes, reads }: ReadBlock): Promise<Uint8Array> {
  const block = new Uint8Array(bytes);
  // All readers take from one list, so that each goes on as soon as it can.
  const list = reads.values();
  const readers = Array.from({ length: READS_AT_ONCE }, async () => {
    for (const read of list) await copyRead(bucket, read, block);
  });
  await Promise.all(readers);
  return block;
}

async function copyRead(bucket: R2Bucket, read: ChunkRead, block: Uint8Array): Promise<void> {
  const bytes = await readChunkRange(bucket, read);
  let from = 0;
  for (const part of read.parts) {
    block.set(bytes.subarray(from, from + part.length), part.at);
    from += part.length;
  }
}

async function describeFile({ batch, createdAt }: Results, kind: ResultFile): Promise<Omit<FileRecord, "bytes">> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${batch.id}:${kind}`));
  const lifeSeconds = batch.outputExpiresAfterSeconds ?? DEFAULT_FILE_LIFE_SECONDS;
  return {
    id: makeId("file-", createdAt, new Uint8Array(digest, 0, RANDOM_ID_BYTES)),
    tenant: batch.tenant,
    purpose: "batch_output",
    filename: `${batch.id}_${kind}.jsonl`,
    createdAt,
    expiresAt: new Date(createdAt.getTime() + lifeSeconds * 1000),
  };
}

function* placeLines(chunks: Iterable<StoredChunk>) {
  for (const { key, lines } of chunks) {
    yield { key, lines: lines.map(({ line, bytes, result }) => ({ line, bytes, file: FILE_OF_RESULT[result] })) };
  }
}

const FILE_OF_RESULT: Readonly<Record<StoredLine["result"], ResultFile | null>> = {
  completed: "output",
  failed: "error",
  unexecuted: "error",
  void: null,
};
