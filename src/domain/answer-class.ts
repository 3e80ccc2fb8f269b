/**
 * What an outcome says of the upstream, as far as it says anything: the one rule for all that paces. Pure.
 *
 *   fine      it answered, well or about the request itself (2xx, most 4xx, 501)
 *   busy      it has too much to do: 429, 503, 529
 *   away      it is not there: no connection, 502, 504, 520 to 530
 *   refused   it answers nobody who comes with this key or to this address: 401, 402, 403; a 429 that says that the account
 *             is out of quota; 404, or a redirect, before any line has succeeded
 *   stumble   it failed, or took too long, over this request or over all: 500 and other 5xx, no answer in time. Whether it
 *             is the request or the upstream, only the other lines can say
 */
import type { Outcome } from "./outcome.ts";

export type AnswerClass = "fine" | Trouble;
export type Trouble = "busy" | "away" | "refused" | "stumble";

/** platform.openai.com/docs/guides/error-codes: no waiting helps, only money. */
const OUT_OF_QUOTA: ReadonlySet<string> = new Set([
  "insufficient_quota",
  "billing_hard_limit_reached",
  "billing_not_active",
]);

/** OpenAI, Azure and Groq answer so with 429 when a single request is larger than the limit: it never succeeds. */
const TOO_LARGE = /request too large/i;

/** @param hasServed some line of the batch was answered with success. */
export function classify(outcome: Outcome, hasServed: boolean): AnswerClass {
  if (outcome.kind === "unanswered") {
    switch (outcome.failure.code) {
      case "upstream_unreachable":
        return "away";
      case "guest_key_unreadable":
        return "refused";
      case "request_timeout":
        return "stumble";
      case "response_too_large":
        return "fine";
    }
  }
  const { statusCode, failure } = outcome;
  if (statusCode === 429) {
    if (OUT_OF_QUOTA.has(failure?.code ?? "")) return "refused";
    return isTooLarge(outcome) ? "fine" : "busy";
  }
  if (statusCode === 503 || statusCode === 529) return "busy";
  // 520 to 527 and 530: developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors
  if (statusCode === 502 || statusCode === 504 || (statusCode >= 520 && statusCode <= 530)) return "away";
  if (statusCode === 501) return "fine";
  if (statusCode >= 500) return "stumble";
  if (statusCode === 401 || statusCode === 402 || statusCode === 403) return "refused";
  const isWrongAddress = statusCode === 404 || (statusCode >= 300 && statusCode < 400);
  return isWrongAddress && !hasServed ? "refused" : "fine";
}

/** A 429 about the request itself. */
function isTooLarge(outcome: Outcome): boolean {
  return TOO_LARGE.test(outcome.failure?.message ?? "");
}
