/** A batch as D1 holds it: flat, times in milliseconds, lists and objects as JSON text. No I/O. */
import type { BatchRecord, BatchStatus, LineProblem, Usage } from "../domain/batch.ts";

export interface BatchRow {
  readonly id: string;
  readonly tenant: string;
  readonly status: string;
  readonly endpoint: string;
  readonly input_file_id: string;
  readonly completion_window: string;
  readonly upstream: string;
  readonly model: string | null;
  readonly metadata: string | null;
  readonly errors: string | null;
  readonly usage: string | null;
  readonly output_file_id: string | null;
  readonly error_file_id: string | null;
  readonly output_expires_after_seconds: number | null;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly in_progress_at: number | null;
  readonly finalizing_at: number | null;
  readonly completed_at: number | null;
  readonly failed_at: number | null;
  readonly expired_at: number | null;
  readonly cancelling_at: number | null;
  readonly cancelled_at: number | null;
}

/** In the order of the columns. */
export function toBatchValues(batch: BatchRecord): (string | number | null)[] {
  return [
    batch.id,
    batch.tenant,
    batch.status,
    batch.endpoint,
    batch.inputFileId,
    batch.completionWindow,
    batch.upstream,
    batch.model,
    toJson(batch.metadata),
    toJson(batch.errors),
    toJson(batch.usage),
    batch.outputFileId,
    batch.errorFileId,
    batch.outputExpiresAfterSeconds,
    batch.counts.total,
    batch.counts.completed,
    batch.counts.failed,
    batch.createdAt.getTime(),
    batch.expiresAt.getTime(),
    toMilliseconds(batch.times.inProgressAt),
    toMilliseconds(batch.times.finalizingAt),
    toMilliseconds(batch.times.completedAt),
    toMilliseconds(batch.times.failedAt),
    toMilliseconds(batch.times.expiredAt),
    toMilliseconds(batch.times.cancellingAt),
    toMilliseconds(batch.times.cancelledAt),
  ];
}

/** Rows are written by `toBatchValues` alone, so their text is trusted. */
export function fromBatchRow(row: BatchRow): BatchRecord {
  return {
    id: row.id,
    tenant: row.tenant,
    status: row.status as BatchStatus,
    endpoint: row.endpoint,
    inputFileId: row.input_file_id,
    completionWindow: row.completion_window,
    upstream: row.upstream,
    model: row.model,
    metadata: fromJson(row.metadata) as Readonly<Record<string, string>> | null,
    errors: fromJson(row.errors) as readonly LineProblem[] | null,
    usage: fromJson(row.usage) as Usage | null,
    outputFileId: row.output_file_id,
    errorFileId: row.error_file_id,
    outputExpiresAfterSeconds: row.output_expires_after_seconds,
    counts: { total: row.total, completed: row.completed, failed: row.failed },
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
    times: {
      inProgressAt: toDate(row.in_progress_at),
      finalizingAt: toDate(row.finalizing_at),
      completedAt: toDate(row.completed_at),
      failedAt: toDate(row.failed_at),
      expiredAt: toDate(row.expired_at),
      cancellingAt: toDate(row.cancelling_at),
      cancelledAt: toDate(row.cancelled_at),
    },
  };
}

export function toJson(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value);
}

function fromJson(text: string | null): unknown {
  return text === null ? null : JSON.parse(text);
}

function toMilliseconds(time: Date | null): number | null {
  return time?.getTime() ?? null;
}

function toDate(milliseconds: number | null): Date | null {
  return milliseconds === null ? null : new Date(milliseconds);
}
