/** The truth about a batch: D1's copy when it is final, the coordinator's record while it lives. */
import { type BatchRecord, isFinal } from "../domain/batch.ts";
import type { CancelReply } from "../domain/conversation.ts";
import { logFailure } from "../log.ts";
import { noSuchBatch, NOT_CANCELLED_NOW, notCancellable } from "../protocol/request-problems.ts";
import { findBatch } from "../stores/batches.ts";
import { ApiError, conflict, tryAgain } from "./api-error.ts";

export interface WantedBatch {
  readonly env: Env;
  readonly db: D1Database;
  readonly tenant: string;
  readonly id: string;
}

/**
 * A coordinator that cannot be reached, as for a moment at every deploy, is no reason to refuse: D1's copy is a few seconds old.
 * @throws ApiError 404 for unknown ids and those of other tenants alike.
 */
export async function findCurrentBatch(wanted: WantedBatch): Promise<BatchRecord> {
  const copy = await findCopy(wanted);
  if (isFinal(copy.status)) return copy;
  const live = await askForSnapshot(wanted.env, copy);
  // Without a record the batch became final since: its copy was written before the record was dropped.
  return live ?? (await findCopy(wanted));
}

/**
 * Asks for a batch to be cancelled; asking again is no mistake.
 * @throws ApiError 404 as above, 409 when it is too late, 503 when its coordinator cannot be reached.
 */
export async function cancelBatch(wanted: WantedBatch): Promise<BatchRecord> {
  const copy = await findCopy(wanted);
  if (isFinal(copy.status)) return requireCancelled(copy);
  const reply = await askToCancel(wanted.env, copy.id);
  if (reply.ok) return reply.batch;
  if (reply.reason === "too_late") throw tooLate(reply.status);
  return requireCancelled(await findCopy(wanted));
}

async function askForSnapshot(env: Env, copy: BatchRecord): Promise<BatchRecord | null> {
  try {
    return await env.COORDINATORS.getByName(copy.id).snapshot();
  } catch (error) {
    logFailure("coordinator_unreachable", { batch: copy.id }, error);
    return copy;
  }
}

async function askToCancel(env: Env, id: string): Promise<CancelReply> {
  try {
    return await env.COORDINATORS.getByName(id).cancel();
  } catch (error) {
    logFailure("coordinator_unreachable", { batch: id }, error);
    throw tryAgain(NOT_CANCELLED_NOW);
  }
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
