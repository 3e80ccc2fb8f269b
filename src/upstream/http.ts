/**
 * Sends a line to an OpenAI-compatible server. Follows no redirect, because the key would travel with it.
 * Network errors become fixed texts: what the runtime says may name inner hosts.
 */
import type { HttpUpstream } from "../config.ts";
import { readAnswer } from "../protocol/answer.ts";
import { canBeSent } from "../domain/bearer-key.ts";
import { MAX_ANSWER_BYTES } from "../domain/limits.ts";
import { noAnswer, type Outcome } from "../domain/outcome.ts";
import { readRetryAfter } from "../domain/retry-after.ts";
import { readRateLimit } from "./rate-limit-headers.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** Of an answer, this much is read without asking for room. */
const FREE_BYTES = 256 * 1024;

/** Where each endpoint of an upstream is: joined once, not for each line. */
const targets = new WeakMap<HttpUpstream, Map<string, string>>();

/** Never throws. The time limit covers connection, headers and body. */
export async function sendOverHttp(upstream: HttpUpstream, request: UpstreamRequest): Promise<Outcome> {
  const key = request.apiKey ?? upstream.apiKey;
  if (key !== null && !canBeSent(key)) return noAnswer("upstream_unreachable");
  const controller = new AbortController();
  const timedOut = Promise.withResolvers<Outcome>();
  const timer = setTimeout(() => {
    timedOut.resolve(noAnswer("request_timeout"));
    controller.abort();
  }, upstream.timeoutSeconds * 1000);
  try {
    // A race, because not every stream that hangs notices the signal: the slot is freed in any case.
    return await Promise.race([exchange(upstream, request, controller.signal), timedOut.promise]);
  } catch {
    return noAnswer("upstream_unreachable");
  } finally {
    clearTimeout(timer);
  }
}

/**
 * `base_url` is what an OpenAI SDK would be given, mostly `https://host/v1`. SDKs append the endpoint without
 * its `/v1`, and so do we: `https://host/openai` leads to `https://host/openai/chat/completions`.
 */
export function joinUrl(baseUrl: string, endpoint: string): string {
  const url = new URL(baseUrl);
  url.pathname = url.pathname.replace(/\/+$/, "") + endpoint.replace(/^\/v1(?=\/)/, "");
  return url.href;
}

async function exchange(upstream: HttpUpstream, request: UpstreamRequest, signal: AbortSignal): Promise<Outcome> {
  const response = await fetch(targetOf(upstream, request.endpoint), {
    method: "POST",
    headers: headersFor(upstream, request),
    body: request.body,
    redirect: "manual",
    signal,
  });
  const rateLimit = readRateLimit(response.headers, new Date());
  const text = await readText(response, request.reserve);
  if (text === null) return noAnswer("response_too_large");
  return readAnswer({
    statusCode: response.status,
    requestId: response.headers.get("x-request-id"),
    retryAfterSeconds: readRetryAfter({
      retryAfter: response.headers.get("retry-after"),
      retryAfterMs: response.headers.get("retry-after-ms"),
      now: new Date(),
    }),
    rateLimit,
    text,
  });
}

function targetOf(upstream: HttpUpstream, endpoint: string): string {
  const known = targets.get(upstream) ?? new Map<string, string>();
  const target = known.get(endpoint) ?? joinUrl(upstream.baseUrl, endpoint);
  targets.set(upstream, known.set(endpoint, target));
  return target;
}

/** These and no others: nothing that a client sent us goes along. */
function headersFor(upstream: HttpUpstream, { apiKey, requestKey, attempt }: UpstreamRequest) {
  const key = apiKey ?? upstream.apiKey;
  return {
    "content-type": "application/json",
    accept: "application/json",
    "user-agent": "nightshift",
    // platform.openai.com/docs/api-reference/debugging-requests: the caller's own id, kept in OpenAI's logs.
    "x-client-request-id": requestKey,
    // The same for a try that is sent again after a crash, another for the next try: an upstream that knows
    // the header neither runs a try twice nor answers a retry with the failure it remembers.
    "idempotency-key": `${requestKey}-${attempt}`,
    ...(key === null ? {} : { authorization: `Bearer ${key}` }),
  };
}

/**
 * Bytes that are no UTF-8 become U+FFFD, since JSON has no other way to hold them. Bytes are counted while they come: what
 * the headers say of their number may be wrong. Null: too large.
 */
async function readText(response: Response, reserve: UpstreamRequest["reserve"]): Promise<string | null> {
  if (response.body === null) return "";
  const declared = declaredBytes(response);
  const decoder = new TextDecoder();
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let isReserved = false;
  let bytes = 0;
  let text = "";
  for (;;) {
    if (!isReserved && Math.max(bytes, declared ?? 0) > FREE_BYTES) {
      isReserved = true;
      // What is longer than its headers say may be of any length.
      await reserve(Math.min(declared === null || declared < bytes ? MAX_ANSWER_BYTES : declared, MAX_ANSWER_BYTES));
    }
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      reader.cancel().catch(() => {});
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** Null when nothing is declared, or when it is not the length of what will be read. */
function declaredBytes({ headers }: Response): number | null {
  const isCoded = headers.get("content-encoding") !== null || headers.get("transfer-encoding") !== null;
  const bytes = Number(headers.get("content-length") ?? Number.NaN);
  return isCoded || !Number.isFinite(bytes) ? null : bytes;
}
