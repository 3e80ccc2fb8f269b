/** The caller's fault, on its way to `handleError` in app.ts, which alone renders it. */
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Result } from "../domain/result.ts";
import type { Refusal } from "../protocol/refusal.ts";
import { plainRefusal } from "../protocol/request-problems.ts";

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: ContentfulStatusCode;
  readonly refusal: Refusal;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: ContentfulStatusCode, refusal: Refusal, headers: Readonly<Record<string, string>> = {}) {
    super(refusal.message);
    this.status = status;
    this.refusal = refusal;
    this.headers = headers;
  }
}

/** With a sentence of our own, where OpenAI's words do not reach. */
export function plainError(status: ContentfulStatusCode, message: string): ApiError {
  return new ApiError(status, plainRefusal(message));
}

/** Ours: what fails for a moment is back after some seconds. */
const TRY_AGAIN_SECONDS = 5;

/** For what is expected to work in a moment. SDKs wait that long by themselves. */
export function tryAgain(refusal: Refusal): ApiError {
  return new ApiError(503, refusal, { "retry-after": String(TRY_AGAIN_SECONDS) });
}

/** The most that wire contract §1 allows. */
const WAIT_SECONDS = 60;

/** For what has a limit that time or the client can mend. */
export function tooMany(code: "insufficient_quota" | "rate_limit_exceeded", message: string): ApiError {
  return new ApiError(429, { code, message, param: null }, { "retry-after": String(WAIT_SECONDS) });
}

/** SDKs retry a 409 by themselves unless they are told not to (wire contract §1). */
export function conflict(refusal: Refusal): ApiError {
  return new ApiError(409, refusal, { "x-should-retry": "false" });
}

/** @throws ApiError 400 for a refusal. */
export function valueOf<Value>(result: Result<Value, Refusal>): Value {
  if (result.ok) return result.value;
  throw new ApiError(400, result.reason);
}
