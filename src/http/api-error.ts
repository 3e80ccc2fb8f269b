/** The caller's fault, on its way to `handleError` in app.ts, which alone renders it. */
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Result } from "../domain/result.ts";
import { type Refusal, shorten } from "../protocol/refusal.ts";

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

/** For most of OpenAI's refusals, which have neither code nor param. */
export function plainError(status: ContentfulStatusCode, message: string): ApiError {
  return new ApiError(status, { code: null, message, param: null });
}

/** Ours: what fails for a moment is back after some seconds. */
const TRY_AGAIN_SECONDS = 5;

/** For what is expected to work in a moment. SDKs wait that long by themselves. */
export function tryAgain(message: string): ApiError {
  return new ApiError(503, { code: null, message, param: null }, { "retry-after": String(TRY_AGAIN_SECONDS) });
}

/** The most that wire contract §1 allows. */
const WAIT_SECONDS = 60;

/** For what has a limit that time or the client can mend. */
export function tooMany(code: "insufficient_quota" | "rate_limit_exceeded", message: string): ApiError {
  return new ApiError(429, { code, message, param: null }, { "retry-after": String(WAIT_SECONDS) });
}

/** SDKs retry a 409 by themselves unless they are told not to (wire contract §1). */
export function conflict(message: string): ApiError {
  return new ApiError(409, { code: null, message, param: null }, { "x-should-retry": "false" });
}

export function noSuchFile(id: string): ApiError {
  return new ApiError(404, { code: null, message: `No such File object: ${shorten(id)}`, param: "id" });
}

export function noSuchBatch(id: string): ApiError {
  return plainError(404, `No batch found with id '${shorten(id)}'.`);
}

/** @throws ApiError 400 for a refusal. */
export function valueOf<Value>(result: Result<Value, Refusal>): Value {
  if (result.ok) return result.value;
  throw new ApiError(400, result.reason);
}
