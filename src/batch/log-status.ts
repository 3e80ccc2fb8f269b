import type { BatchRecord } from "../domain/batch.ts";
import { type LogFields, logEvent } from "../log.ts";

/** One line for each status that a batch comes to. */
export function logStatus(batch: BatchRecord, more: LogFields = {}): void {
  const { total, completed, failed } = batch.counts;
  const ids = { batch: batch.id, tenant: batch.tenant };
  logEvent("batch_status", { ...ids, status: batch.status, total, completed, failed, ...more });
}
