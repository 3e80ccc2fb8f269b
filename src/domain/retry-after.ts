/** Reads how long an upstream asks to be left alone. What to make of it is the retry policy's business. */

export interface RetryAfterHeaders {
  /** Seconds, fractions too, or an HTTP date. */
  readonly retryAfter: string | null;
  /** Milliseconds: OpenAI's, finer than the standard header, and preferred to it as in OpenAI's SDKs. */
  readonly retryAfterMs: string | null;
  readonly now: Date;
}

const DECIMAL = /^[0-9]+(?:\.[0-9]*)?$/;
/** RFC 9110, 5.6.7: the form that is sent and the two that are to be understood. */
const HTTP_DATES = [
  /^[a-z]{3}, [0-9]{2} [a-z]{3} [0-9]{4} [0-9:]{8} GMT$/i,
  /^[a-z]{6,9}, [0-9]{2}-[a-z]{3}-[0-9]{2} [0-9:]{8} GMT$/i,
  /^[a-z]{3} [a-z]{3} [0-9 ][0-9] [0-9:]{8} [0-9]{4}$/i,
];

/** Seconds, not capped; 0 for a date that has passed; null when there is none or it makes no sense. */
export function readRetryAfter({ retryAfter, retryAfterMs, now }: RetryAfterHeaders): number | null {
  const milliseconds = readDecimal(retryAfterMs);
  if (milliseconds !== null) return milliseconds / 1000;
  return readDecimal(retryAfter) ?? secondsUntil(retryAfter, now);
}

function readDecimal(text: string | null): number | null {
  const trimmed = text?.trim() ?? "";
  if (!DECIMAL.test(trimmed)) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : null;
}

function secondsUntil(text: string | null, now: Date): number | null {
  const trimmed = text?.trim() ?? "";
  if (!HTTP_DATES.some((form) => form.test(trimmed))) return null;
  // The oldest form names no zone; all HTTP dates are UTC.
  const time = Date.parse(trimmed.endsWith("GMT") ? trimmed : `${trimmed} GMT`);
  return Number.isNaN(time) ? null : Math.max(0, (time - now.getTime()) / 1000);
}
