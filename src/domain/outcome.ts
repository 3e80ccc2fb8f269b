/** What came of sending one line to an upstream. Prompts and completions live in `body` alone, never in messages. */
import type { Usage } from "./batch.ts";
import type { RateLimit } from "./rate-limit.ts";

/** The upstream answered over HTTP, with whatever status. */
export interface Answer {
  readonly kind: "answered";
  readonly statusCode: number;
  /** The upstream's `x-request-id`; null when it sent none. */
  readonly requestId: string | null;
  /** JSON text on one line, the upstream's own bytes where it sent JSON. */
  readonly body: string;
  /** Null for a success (2xx and JSON); else what goes into the result line's `error`. */
  readonly failure: Failure | null;
  readonly usage: Usage | null;
  /** From `retry-after` or `retry-after-ms`; null when absent or nonsense. Not capped. */
  readonly retryAfterSeconds: number | null;
  /** From `x-ratelimit-…` headers; null when there were none that make sense. */
  readonly rateLimit: RateLimit | null;
}

/** No answer to keep: the network failed, time ran out, or the answer was too large to hold. */
export interface NoAnswer {
  readonly kind: "unanswered";
  readonly failure: Failure & { readonly code: NoAnswerCode };
}

export type NoAnswerCode =
  | "request_timeout"
  | "upstream_unreachable"
  | "response_too_large"
  /** The line was not sent: its guest's key was sealed under another ENCRYPTION_KEY than today's. */
  | "guest_key_unreadable";

export interface Failure {
  readonly code: string;
  readonly message: string;
}

export type Outcome = Answer | NoAnswer;

/** Fixed texts: what a network error says of itself may name inner hosts. */
const NO_ANSWER_MESSAGES: Readonly<Record<NoAnswerCode, string>> = {
  request_timeout: "The upstream did not answer in time.",
  upstream_unreachable: "The upstream could not be reached, or closed the connection before its answer was complete.",
  response_too_large: "The upstream's answer was too large.",
  guest_key_unreadable: "The key with which this batch was created can no longer be read.",
};

export function noAnswer(code: NoAnswerCode): NoAnswer {
  return { kind: "unanswered", failure: { code, message: NO_ANSWER_MESSAGES[code] } };
}
