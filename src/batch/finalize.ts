/**
 * Writes a batch's output and error files from its chunks, in input order. The bytes flow from object to
 * object and never through JavaScript. Repeatable: ids and keys follow from the batch, so a run that was cut
 * off is simply done again.
 */
import type { BatchRecord } from "../domain/batch.ts";
import type { FileRecord } from "../domain/file.ts";
import { makeId } from "../domain/ids.ts";
import { DEFAULT_FILE_LIFE_SECONDS } from "../domain/limits.ts";
import { orderResults, type OrderedFile, type ResultFile, type Segment } from "../domain/result-order.ts";
import { fileKey, resultMetadata } from "../stores/object-keys.ts";
import type { StoredChunk, StoredLine } from "./ledger-rows.ts";

/** Chunks opened ahead of the one being copied. With the target that is four of the six connections allowed. */
const CHUNKS_AHEAD = 3;

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
}

export async function writeResultFiles(bucket: R2Bucket, results: Results): Promise<ResultFiles> {
  const files = orderResults(placeLines(results.chunks), results.batch.counts.total);
  return {
    output: await writeResultFile(bucket, results, { kind: "output", ...files.output }),
    error: await writeResultFile(bucket, results, { kind: "error", ...files.error }),
  };
}

async function writeResultFile(
  bucket: R2Bucket,
  results: Results,
  { kind, bytes, segments }: OrderedFile & { readonly kind: ResultFile },
): Promise<FileRecord | null> {
  if (bytes === 0) return null;
  const file = { ...(await describeFile(results, kind)), bytes };
  const { readable, writable } = new FixedLengthStream(bytes);
  const customMetadata = resultMetadata(results.batch.id);
  const put = bucket.put(fileKey(file.id), readable, { customMetadata });
  // A put that fails may leave its stream unread, and the copy would wait for it for ever.
  put.catch((error: unknown) => readable.cancel(error).catch(() => {}));
  await Promise.all([put, copySegments(bucket, segments, writable)]);
  return file;
}

async function copySegments(bucket: R2Bucket, segments: readonly Segment[], target: WritableStream): Promise<void> {
  const opened: Promise<R2ObjectBody | null>[] = [];
  try {
    for (const [index, segment] of segments.entries()) {
      while (opened.length < CHUNKS_AHEAD && index + opened.length < segments.length) {
        opened.push(openSegment(bucket, segments[index + opened.length] ?? segment));
      }
      const object = await opened.shift();
      if (object === null || object === undefined) throw new Error(`chunk ${segment.key} is gone`);
      await object.body.pipeTo(target, { preventClose: true });
    }
    await target.close();
  } catch (error) {
    await target.abort(error).catch(() => {});
    for (const rest of await Promise.allSettled(opened)) {
      if (rest.status === "fulfilled") await rest.value?.body.cancel().catch(() => {});
    }
    throw error;
  }
}

function openSegment(bucket: R2Bucket, { key, offset, length }: Segment): Promise<R2ObjectBody | null> {
  const opening = bucket.get(key, { range: { offset, length } });
  // Whoever awaits it sees the failure; until then it must not count as unhandled.
  opening.catch(() => {});
  return opening;
}

async function describeFile({ batch, createdAt }: Results, kind: ResultFile): Promise<Omit<FileRecord, "bytes">> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${batch.id}:${kind}`));
  const lifeSeconds = batch.outputExpiresAfterSeconds ?? DEFAULT_FILE_LIFE_SECONDS;
  return {
    id: makeId("file-", createdAt, new Uint8Array(digest, 0, 12)),
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
