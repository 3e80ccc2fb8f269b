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

/** SDKs retry a 409 by themselves unless they are told not to (wire contract §1). */
export function conflict(refusal: Refusal): ApiError {
  return new ApiError(409, refusal, { "x-should-retry": "false" });
}

/** @throws ApiError 400 for a refusal. */
export function valueOf<Value>(result: Result<Value, Refusal>): Value {
  if (result.ok) return result.value;
  throw new ApiError(400, result.reason);
}
