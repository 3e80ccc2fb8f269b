/**
 * Makes an `Answer` of what an upstream sent: keeps its JSON, reads usage and failure out of it. Parses once.
 * Whether the answer is good enough to settle on is the retry policy's business.
 */
import { firstCharacters } from "../domain/characters.ts";
import type { Answer, Failure } from "../domain/outcome.ts";
import type { RateLimit } from "../domain/rate-limit.ts";
import { member, parseJson, type ParsedJson } from "./json.ts";
import { toOneLine } from "./raw-json.ts";
import { readUsage } from "./usage.ts";

export interface UpstreamReply {
  readonly statusCode: number;
  readonly requestId: string | null;
  readonly retryAfterSeconds: number | null;
  readonly rateLimit: RateLimit | null;
  readonly text: string;
}

/** Wire contract, "Lines": how much is kept of a body that is not JSON. */
const MAX_KEPT_CHARACTERS = 2000;

const CODE_OF_STATUS: ReadonlyMap<number, string> = new Map([
  [401, "authentication_failed"],
  [403, "permission_denied"],
  [404, "not_found"],
  [408, "request_timeout"],
  [409, "conflict"],
  [413, "request_too_large"],
  [422, "unprocessable_request"],
  [429, "rate_limit_exceeded"],
]);

/**
 * A success is a 2xx with any JSON. An array or a string where an object belongs is kept like the rest: it may
 * be a paid answer, and its shape is between the client and the upstream.
 */
export function readAnswer({ statusCode, requestId, retryAfterSeconds, rateLimit, text }: UpstreamReply): Answer {
  const parsed = parseJson(text);
  const isSuccess = parsed.ok && statusCode >= 200 && statusCode <= 299;
  return {
    kind: "answered",
    statusCode,
    requestId,
    body: parsed.ok ? toOneLine(text) : wrapText(text),
    failure: isSuccess ? null : readFailure(statusCode, parsed),
    usage: isSuccess ? readUsage(member(parsed.value, "usage")) : null,
    retryAfterSeconds,
    rateLimit,
  };
}

/** What is not JSON becomes an object of the shape in which OpenAI reports errors. */
function wrapText(text: string): string {
  return JSON.stringify({
    error: { message: firstCharacters(text, MAX_KEPT_CHARACTERS), type: "upstream_error", param: null, code: null },
  });
}

function readFailure(statusCode: number, parsed: ParsedJson): Failure {
  if (!parsed.ok) {
    if (statusCode >= 300) return failureByStatus(statusCode);
    return { code: "invalid_response", message: `Upstream answered ${statusCode} with a body that is not JSON.` };
  }
  const error = findError(parsed.value);
  const byStatus = failureByStatus(statusCode);
  return {
    code: readCode(member(error, "code")) ?? readCode(member(error, "type")) ?? byStatus.code,
    message: readMessage(error) ?? byStatus.message,
  };
}

function failureByStatus(statusCode: number): Failure {
  return {
    code: CODE_OF_STATUS.get(statusCode) ?? codeOfClass(statusCode),
    message: `Upstream answered ${statusCode}.`,
  };
}

function codeOfClass(statusCode: number): string {
  if (statusCode >= 500) return "server_error";
  return statusCode >= 400 ? "invalid_request" : "unexpected_redirect";
}

/**
 * Where servers put their error: `{"error": {…}}` (OpenAI), `{"error": "…"}` (Ollama), `[{"error": {…}}]`
 * (Gemini), `{"errors": [{…}]}` (Cloudflare), `{"detail": …}` (FastAPI), the object itself (older vLLM).
 */
function findError(body: unknown): unknown {
  const object = Array.isArray(body) ? (body[0] as unknown) : body;
  const errors = member(object, "errors");
  return member(object, "error") ?? (Array.isArray(errors) ? errors[0] : null) ?? member(object, "detail") ?? object;
}

function readMessage(error: unknown): string | null {
  const first: unknown = Array.isArray(error) ? error[0] : error;
  const message = typeof first === "string" ? first : (member(first, "message") ?? member(first, "msg"));
  return typeof message === "string" && message !== "" ? firstCharacters(message, MAX_KEPT_CHARACTERS) : null;
}

/** Some servers send numbers (vLLM: `"code": 400`); on the wire a code is a string. */
function readCode(value: unknown): string | null {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && value !== "" ? firstCharacters(value, MAX_KEPT_CHARACTERS) : null;
}
