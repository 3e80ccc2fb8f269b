/**
 * The built-in upstream: answers every endpoint without network, always the same for the same body, and can be
 * told by the request itself to be slow or to fail (docs/echo-upstream.md). It keeps nothing between requests.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { EchoUpstream } from "../config.ts";
import { readAnswer } from "../protocol/answer.ts";
import { parseObject } from "../protocol/json.ts";
import { MAX_ANSWER_BYTES } from "../domain/limits.ts";
import { noAnswer, type Outcome } from "../domain/outcome.ts";
import { readRetryAfter } from "../domain/retry-after.ts";
import { errorReply, type EchoReply, replyTo } from "./echo-replies.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** The member `echo` of a request's body. */
const controlSchema = z.strictObject({
  delay_ms: z.int().min(0).max(3_600_000).default(0),
  status: z.int().min(300).max(599).optional(),
  fault: z.enum(["unreachable", "timeout", "html"]).optional(),
  failures: z.int().min(0).optional(),
  retry_after: z.union([z.number(), z.string()]).optional(),
});

type EchoControl = z.output<typeof controlSchema>;

const HTML = "<!doctype html>\n<title>Not the API</title>\n<p>The echo upstream was told to answer with a page.\n";

/** Never throws. A delay ends with the upstream's time limit, as a slow server's would. */
export async function sendToEcho(upstream: EchoUpstream, request: UpstreamRequest): Promise<Outcome> {
  const body = parseObject(request.body);
  if (body === null) return toOutcome(request, errorReply(400, { message: "The body is not a JSON object." }), null);
  const parsed = controlSchema.safeParse(body["echo"] ?? {});
  if (!parsed.success) return toOutcome(request, refuseControl(parsed.error), null);
  const control = parsed.data;
  const isFailing = failsAt(control, request.attempt);

  const limitMs = upstream.timeoutSeconds * 1000;
  const hangs = (isFailing && control.fault === "timeout") || control.delay_ms >= limitMs;
  await wait(hangs ? limitMs : control.delay_ms);
  if (hangs) return noAnswer("request_timeout");
  if (!isFailing) {
    const reply = replyTo({ endpoint: request.endpoint, body, digest: digest(request.body) });
    return toOutcome(request, reply, null);
  }
  if (control.fault === "unreachable") return noAnswer("upstream_unreachable");
  return toOutcome(request, failingReply(control), control.retry_after ?? null);
}

function failsAt({ status, fault, failures }: EchoControl, attempt: number): boolean {
  if (status === undefined && fault === undefined && failures === undefined) return false;
  return attempt <= (failures ?? Number.POSITIVE_INFINITY);
}

function failingReply({ status, fault }: EchoControl): EchoReply {
  if (fault === "html") return { status: status ?? 200, text: HTML };
  const told = status ?? 500;
  return errorReply(told, { message: `The echo upstream was told to answer ${told}.` });
}

function refuseControl(error: z.ZodError): EchoReply {
  const issue = error.issues[0];
  const param = ["echo", ...(issue?.path ?? [])].join(".");
  return errorReply(400, {
    message: `Invalid value for '${param}': ${issue?.message ?? "see the documentation"}.`,
    param,
  });
}

/** What went out over HTTP would be read back the same way. */
function toOutcome(
  { body }: UpstreamRequest,
  { status, text }: EchoReply,
  retryAfter: number | string | null,
): Outcome {
  if (text.length > MAX_ANSWER_BYTES) return noAnswer("response_too_large");
  return readAnswer({
    statusCode: status,
    requestId: `req_${digest(body).slice(0, 32)}`,
    retryAfterSeconds: readRetryAfter({
      retryAfter: retryAfter === null ? null : String(retryAfter),
      retryAfterMs: null,
      now: new Date(),
    }),
    rateLimit: null,
    text,
  });
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function wait(delayMs: number): Promise<void> {
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
}
