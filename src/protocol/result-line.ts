/**
 * Lines of the output and error files: one compact JSON object each, with its line break. Response bodies are
 * spliced in as they came, never printed anew, so that big integers and the spelling of numbers survive.
 * Which file a line belongs to is not decided here.
 */
import type { Failure, Outcome } from "../domain/outcome.ts";

/** Two are ours: `input_file_unavailable`: the input's bytes were lost while the batch ran; `result_lost`: the result's. */
export const MISSING_REASONS = ["batch_expired", "batch_cancelled", "input_file_unavailable", "result_lost"] as const;

export type MissingReason = (typeof MISSING_REASONS)[number];

export interface ExecutedLine {
  /** `batch_req_…` */
  readonly id: string;
  readonly customId: string;
  readonly outcome: Outcome;
  /** Stands in where the upstream sent no `x-request-id`. */
  readonly ownRequestId: string;
}

export interface MissingResult {
  /** `batch_req_…` */
  readonly id: string;
  /** Null when the input's bytes are gone. */
  readonly customId: string | null;
  readonly reason: MissingReason;
}

const MISSING_MESSAGES: Readonly<Record<MissingReason, string>> = {
  batch_expired: "This request could not be executed before the completion window expired.",
  batch_cancelled: "This request was not executed because the batch was cancelled.",
  input_file_unavailable: "This request was not executed because the input file is no longer available.",
  result_lost: "This request was executed, but its result was lost in storage.",
};

/** The line of a request that was sent upstream: wire contract, "Lines". */
export function toResultLine({ id, customId, outcome, ownRequestId }: ExecutedLine): string {
  if (outcome.kind === "unanswered") return toLine({ id, customId, response: "null", failure: outcome.failure });
  const requestId = JSON.stringify(outcome.requestId ?? ownRequestId);
  const response = `{"status_code":${outcome.statusCode},"request_id":${requestId},"body":${outcome.body}}`;
  return toLine({ id, customId, response, failure: outcome.failure });
}

/** The line of a request that was never executed, or has no result any more. */
export function toMissingResultLine({ id, customId, reason }: MissingResult): string {
  return toLine({ id, customId, response: "null", failure: { code: reason, message: MISSING_MESSAGES[reason] } });
}

interface LineParts {
  readonly id: string;
  readonly customId: string | null;
  /** JSON text. */
  readonly response: string;
  readonly failure: Failure | null;
}

function toLine({ id, customId, response, failure }: LineParts): string {
  const error = failure === null ? "null" : JSON.stringify({ code: failure.code, message: failure.message });
  return `{"id":${JSON.stringify(id)},"custom_id":${JSON.stringify(customId)},"response":${response},"error":${error}}\n`;
}
