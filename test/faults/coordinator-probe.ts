/** Looks into a batch's object from outside, without a call of its methods. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import type { BatchRecord } from "../../src/domain/batch.ts";
import { type ChunkRow, fromChunkRow } from "../../src/batch/storage-rows.ts";
import type { StoredChunk } from "../../src/domain/chunk.ts";

export interface Probe {
  /** Null: nothing is stored. */
  readonly record: Pick<BatchRecord, "status"> | null;
  /** Empty once the result files are written: then the objects of the chunks may go. */
  readonly chunks: readonly StoredChunk[];
  readonly alarmAt: number | null;
}

/** Also puts `objectEnv` in front of the object, which has a new environment after every eviction. */
export function probeCoordinator(batchId: string, objectEnv: Env): Promise<Probe> {
  return runInDurableObject(env.COORDINATORS.getByName(batchId), async (instance, { storage }) => {
    Reflect.set(instance, "env", objectEnv);
    const alarmAt = await storage.getAlarm();
    const tables = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'batch'").toArray();
    if (tables.length === 0) return { record: null, chunks: [], alarmAt };
    const [row] = storage.sql
      .exec<{ record: string; final: string | null }>("SELECT record, final FROM batch")
      .toArray();
    const chunks = storage.sql.exec<ChunkRow>("SELECT key, lines, usage FROM chunks").toArray();
    return {
      record: row === undefined ? null : (JSON.parse(row.record) as BatchRecord),
      chunks: row?.final === null ? chunks.map(fromChunkRow) : [],
      alarmAt,
    };
  });
}

/** Runs the alarm as the platform does: it is no longer set while it runs. */
export function runAlarm(batchId: string, objectEnv: Env): Promise<void> {
  return runInDurableObject(env.COORDINATORS.getByName(batchId), async (instance, { storage }) => {
    Reflect.set(instance, "env", objectEnv);
    await storage.deleteAlarm();
    await instance.alarm();
  });
}
