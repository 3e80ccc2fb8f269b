/**
 * What the cron trigger does: removes files whose time is over and objects that nobody owns, and wakes batches
 * that went silent. Each part is bounded per run, goes on where the last run stopped, and may be repeated.
 *
 * Parts of unfinished uploads are not here: R2 drops them after seven days
 * (developers.cloudflare.com/r2/objects/multipart-objects), and a Worker cannot list them.
 */
import { logEvent, type LogFields, logFailure } from "../log.ts";
import { deleteFileBytes } from "../stores/files.ts";
import { batchOfChunkKey, CHUNKS_PREFIX, FILES_PREFIX, fileOfKey } from "../stores/object-keys.ts";
import { openDatabase } from "../stores/schema.ts";
import {
  deleteFileRows,
  deleteObjects,
  findBatchOfResult,
  findKnownFiles,
  findLiveBatches,
  hideFiles,
  listLiveBatches,
  listObjects,
  listRemovableFiles,
  MAX_IDS_PER_QUERY,
  readCursor,
  writeCursor,
} from "../stores/sweeps.ts";

/** A tenth of D1's parameters stays free for what else a statement binds. */
const FILES_PER_STEP = MAX_IDS_PER_QUERY - 10;
const MAX_FILE_STEPS = 10;
const OBJECTS_PER_RUN = 1000;
const BATCHES_PER_RUN = 200;
/** An object may be older than its row by the length of an upload, a chunk younger than its batch's end. */
const ORPHAN_AGE_MS = 24 * 60 * 60 * 1000;

export interface SweepCounts {
  readonly filesRemoved: number;
  readonly orphansRemoved: number;
  readonly batchesWoken: number;
}

interface ObjectKind {
  readonly prefix: string;
  /** Those of the keys that nobody owns. At most MAX_IDS_PER_QUERY keys. */
  readonly findOrphans: (keys: readonly string[], db: D1Database, bucket: R2Bucket) => Promise<readonly string[]>;
}

const FILE_OBJECTS: ObjectKind = { prefix: FILES_PREFIX, findOrphans: findUnknownFiles };
const CHUNKS: ObjectKind = { prefix: CHUNKS_PREFIX, findOrphans: findDeadChunks };

/** Never throws: a part that fails is logged and does not keep the others from their work. */
export async function sweep(env: Env, now: Date): Promise<SweepCounts> {
  const startedAt = Date.now();
  const counts = {
    filesRemoved: await attempt({ part: "files" }, () => removeFiles(env, now)),
    orphansRemoved:
      (await attempt({ part: "file objects" }, () => removeOrphans(env, now, FILE_OBJECTS))) +
      (await attempt({ part: "chunks" }, () => removeOrphans(env, now, CHUNKS))),
    batchesWoken: await attempt({ part: "batches" }, () => wakeBatches(env)),
  };
  logEvent("sweep", { ...counts, ms: Date.now() - startedAt });
  return counts;
}

async function attempt(what: LogFields, work: () => Promise<number>): Promise<number> {
  try {
    return await work();
  } catch (error) {
    logFailure("sweep_failed", what, error);
    return 0;
  }
}

/** Row hidden, bytes deleted, row deleted: in this order, so that nothing is visible without its bytes. */
async function removeFiles(env: Env, now: Date): Promise<number> {
  const db = await openDatabase(env.DB);
  let removed = 0;
  for (let step = 0; step < MAX_FILE_STEPS; step += 1) {
    const ids = await listRemovableFiles(db, now, FILES_PER_STEP);
    if (ids.length === 0) break;
    await hideFiles(db, ids, now);
    await deleteFileBytes(env.BUCKET, ids);
    await deleteFileRows(db, ids);
    removed += ids.length;
  }
  return removed;
}

/** Looks at one page of the bucket, from where the last run stopped. */
async function removeOrphans(env: Env, now: Date, { prefix, findOrphans }: ObjectKind): Promise<number> {
  const db = await openDatabase(env.DB);
  const after = await readCursor(db, prefix);
  const { objects, next } = await listObjects(env.BUCKET, { prefix, after, limit: OBJECTS_PER_RUN });
  const old = objects.filter(({ uploadedAt }) => now.getTime() - uploadedAt.getTime() > ORPHAN_AGE_MS);
  let removed = 0;
  for (let from = 0; from < old.length; from += MAX_IDS_PER_QUERY) {
    const keys = old.slice(from, from + MAX_IDS_PER_QUERY).map(({ key }) => key);
    const orphans = await findOrphans(keys, db, env.BUCKET);
    await deleteObjects(env.BUCKET, orphans);
    removed += orphans.length;
  }
  await writeCursor(db, prefix, next);
  return removed;
}

/** Without a row, and no result that a live batch is about to publish. There are few: each is looked at. */
async function findUnknownFiles(keys: readonly string[], db: D1Database, bucket: R2Bucket): Promise<readonly string[]> {
  const known = await findKnownFiles(db, keys.map(fileOfKey));
  const unknown = await Promise.all(
    keys
      .filter((key) => !known.has(fileOfKey(key)))
      .map(async (key) => ({ key, batchId: await findBatchOfResult(bucket, key) })),
  );
  const batchIds = unknown.map(({ batchId }) => batchId).filter((id) => id !== null);
  const live = await findLiveBatches(db, [...new Set(batchIds)]);
  return unknown.filter(({ batchId }) => batchId === null || !live.has(batchId)).map(({ key }) => key);
}

async function findDeadChunks(keys: readonly string[], db: D1Database): Promise<readonly string[]> {
  const live = await findLiveBatches(db, [...new Set(keys.map(batchOfChunkKey))]);
  return keys.filter((key) => !live.has(batchOfChunkKey(key)));
}

/** A coordinator that is at work notices nothing; one that went silent goes on; one that is gone settles its row. */
async function wakeBatches(env: Env): Promise<number> {
  const db = await openDatabase(env.DB);
  const batches = await listLiveBatches(db, await readCursor(db, "batches"), BATCHES_PER_RUN);
  // Before they are woken: one that hangs must not stand in front of those behind it for ever.
  await writeCursor(db, "batches", batches.length < BATCHES_PER_RUN ? "" : (batches.at(-1)?.id ?? ""));
  let woken = 0;
  for (const batch of batches) {
    woken += await attempt({ part: "batches", batch: batch.id }, async () => {
      await env.COORDINATORS.getByName(batch.id).wake(batch);
      return 1;
    });
  }
  return woken;
}
