/**
 * Lines of the output and error files: one compact JSON object each, with its line break. Response bodies are
 * spliced in as they came, never printed anew, so that big integers and the spelling of numbers survive.
 * Which file a line belongs to is not decided here.
 */
import type { Failure, Outcome } from "../domain/outcome.ts";

/**
 * Why a line has no answer. All but the first two are ours: the input's bytes were lost while the batch ran, the result's
 * bytes were; consumers died with the line; the upstream refuses the key of its guest.
 */
export const MISSING_REASONS = [
  "batch_expired",
  "batch_cancelled",
  "input_file_unavailable",
  "result_lost",
  "consumer_lost",
  "upstream_refused",
] as const;

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
  /** What the upstream said of it, in place of what we say; null when it said nothing. */
  readonly answer: Failure | null;
}

/** Ours: in place of the usual message of lines that expire. */
export const UPSTREAM_GONE: Failure = {
  code: "batch_expired",
  message:
    "This request could not be executed before the completion window expired: its upstream is not in the settings of this deployment any more.",
};

const MISSING_MESSAGES: Readonly<Record<MissingReason, string>> = {
  batch_expired: "This request could not be executed before the completion window expired.",
  batch_cancelled: "This request was not executed because the batch was cancelled.",
  input_file_unavailable: "This request was not executed because the input file is no longer available.",
  result_lost: "This request was executed, but its result was lost in storage.",
  consumer_lost: "This request was tried four times, and each time the process that ran it ended without a result.",
  upstream_refused: "This request was not executed because the upstream refuses the key of this batch.",
};

/** A line in three texts that follow each other: joined, a large body would be in memory twice. */
export interface ResultLineTexts {
  readonly head: string;
  /** Of the answer; empty when there is none. */
  readonly body: string;
  readonly tail: string;
}

/** The line of a request that was sent upstream: wire contract, "Lines". */
export function toResultLine({ id, customId, outcome, ownRequestId }: ExecutedLine): ResultLineTexts {
  const { failure } = outcome;
  if (outcome.kind === "unanswered") {
    return { head: toLine({ id, customId, response: "null", failure }), body: "", tail: "" };
  }
  const requestId = JSON.stringify(outcome.requestId ?? ownRequestId);
  const response = `{"status_code":${outcome.statusCode},"request_id":${requestId},"body":`;
  return { head: toHead({ id, customId, response }), body: outcome.body, tail: `}${toTail(failure)}` };
}

/** The line of a request that was never executed, or has no result any more. */
export function toMissingResultLine({ id, customId, reason, answer }: MissingResult): string {
  const failure = answer ?? { code: reason, message: MISSING_MESSAGES[reason] };
  return toLine({ id, customId, response: "null", failure });
}

interface LineParts {
  readonly id: string;
  readonly customId: string | null;
  /** JSON text. */
  readonly response: string;
  readonly failure: Failure | null;
}

function toLine(parts: LineParts): string {
  return toHead(parts) + toTail(parts.failure);
}

function toHead({ id, customId, response }: Omit<LineParts, "failure">): string {
  return `{"id":${JSON.stringify(id)},"custom_id":${JSON.stringify(customId)},"response":${response}`;
}

function toTail(failure: Failure | null): string {
  const error = failure === null ? "null" : JSON.stringify({ code: failure.code, message: failure.message });
  return `,"error":${error}}\n`;
}
