/** OpenAI's batch object, made from a batch record. What a client sends to create one is in `batch-order.ts`. */
import * as z from "zod";
import type { BatchRecord, BatchStatus, LineProblem, Usage } from "../domain/batch.ts";
import { BATCHES_PER_PAGE } from "../domain/limits.ts";
import { integerText } from "./fields.ts";

export interface Batch {
  readonly id: string;
  readonly object: "batch";
  readonly endpoint: string;
  readonly model: string | null;
  readonly errors: { readonly object: "list"; readonly data: readonly LineProblem[] } | null;
  readonly input_file_id: string;
  readonly completion_window: string;
  readonly status: BatchStatus;
  readonly output_file_id: string | null;
  readonly error_file_id: string | null;
  readonly created_at: number;
  readonly in_progress_at: number | null;
  readonly expires_at: number;
  readonly finalizing_at: number | null;
  readonly completed_at: number | null;
  readonly failed_at: number | null;
  readonly expired_at: number | null;
  readonly cancelling_at: number | null;
  readonly cancelled_at: number | null;
  readonly request_counts: { readonly total: number; readonly completed: number; readonly failed: number };
  readonly usage: BatchUsage | null;
  readonly metadata: Readonly<Record<string, string>> | null;
}

export interface BatchUsage {
  readonly input_tokens: number;
  readonly input_tokens_details: { readonly cached_tokens: number };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly reasoning_tokens: number };
  readonly total_tokens: number;
}

export function toBatch(batch: BatchRecord): Batch {
  return {
    id: batch.id,
    object: "batch",
    endpoint: batch.endpoint,
    model: batch.model,
    errors: batch.errors === null ? null : { object: "list", data: batch.errors.map(toBatchError) },
    input_file_id: batch.inputFileId,
    completion_window: batch.completionWindow,
    status: batch.status,
    output_file_id: batch.outputFileId,
    error_file_id: batch.errorFileId,
    created_at: toSeconds(batch.createdAt),
    in_progress_at: toSecondsOrNull(batch.times.inProgressAt),
    expires_at: toSeconds(batch.expiresAt),
    finalizing_at: toSecondsOrNull(batch.times.finalizingAt),
    completed_at: toSecondsOrNull(batch.times.completedAt),
    failed_at: toSecondsOrNull(batch.times.failedAt),
    expired_at: toSecondsOrNull(batch.times.expiredAt),
    cancelling_at: toSecondsOrNull(batch.times.cancellingAt),
    cancelled_at: toSecondsOrNull(batch.times.cancelledAt),
    request_counts: {
      total: batch.counts.total,
      completed: batch.counts.completed,
      failed: batch.counts.failed,
    },
    usage: batch.usage === null ? null : toBatchUsage(batch.usage),
    metadata: batch.metadata,
  };
}

/** The query of `GET /v1/batches`. */
export const batchListQuery = z.object({
  limit: integerText(BATCHES_PER_PAGE.least, BATCHES_PER_PAGE.most).prefault(String(BATCHES_PER_PAGE.usual)),
  after: z.string().optional(),
});

function toBatchError(problem: LineProblem): LineProblem {
  return { code: problem.code, message: problem.message, param: problem.param, line: problem.line };
}

function toBatchUsage(usage: Usage): BatchUsage {
  return {
    input_tokens: usage.inputTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens },
    output_tokens: usage.outputTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.totalTokens,
  };
}

function toSeconds(time: Date): number {
  return Math.floor(time.getTime() / 1000);
}

function toSecondsOrNull(time: Date | null): number | null {
  return time === null ? null : toSeconds(time);
}
