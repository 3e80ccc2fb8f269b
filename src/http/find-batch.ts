/** The truth about a batch: D1's copy when it is final, the coordinator's record while it lives. */
import { type BatchRecord, isFinal } from "../domain/batch.ts";
import { noSuchBatch, notCancellable } from "../protocol/request-problems.ts";
import { findBatch } from "../stores/batches.ts";
import { ApiError, conflict } from "./api-error.ts";

export interface WantedBatch {
  readonly env: Env;
  readonly db: D1Database;
  readonly tenant: string;
  readonly id: string;
}

/** @throws ApiError 404 for unknown ids and those of other tenants alike. */
export async function findCurrentBatch(wanted: WantedBatch): Promise<BatchRecord> {
  const copy = await findCopy(wanted);
  if (isFinal(copy.status)) return copy;
  const live = await wanted.env.COORDINATORS.getByName(copy.id).snapshot();
  // Without a record the batch became final since: its copy was written before the record was dropped.
  return live ?? (await findCopy(wanted));
}

/**
 * Asks for a batch to be cancelled; asking again is no mistake.
 * @throws ApiError 404 as above, 409 when it is too late.
 */
export async function cancelBatch(wanted: WantedBatch): Promise<BatchRecord> {
  const copy = await findCopy(wanted);
  if (isFinal(copy.status)) return requireCancelled(copy);
  const reply = await wanted.env.COORDINATORS.getByName(copy.id).cancel();
  if (reply.ok) return reply.batch;
  if (reply.reason === "too_late") throw tooLate(reply.status);
  return requireCancelled(await findCopy(wanted));
}

async function findCopy({ db, tenant, id }: WantedBatch): Promise<BatchRecord> {
  const batch = await findBatch(db, tenant, id);
  if (batch === null) throw new ApiError(404, noSuchBatch(id));
  return batch;
}

function requireCancelled(batch: BatchRecord): BatchRecord {
  if (batch.status === "cancelled") return batch;
  throw tooLate(batch.status);
}

function tooLate(status: string) {
  return conflict(notCancellable(status));
}
