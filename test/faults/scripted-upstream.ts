/** Stands in for `fetch`: an upstream that answers each line as the scenario says, and remembers every call. */
import { vi } from "vitest";
import { type ConsumerLifetime, consumerLifetime } from "./injector.ts";
import type { ScriptedAnswer } from "./scenario.ts";

interface ChatBody {
  readonly line: number;
}

export interface UpstreamWatch {
  /** A line is answered with success, and the consumer that sent it lives. */
  readonly onSuccess: (batchId: string, line: number, consumer: ConsumerLifetime) => void;
  readonly onCall: (batchId: string, line: number) => void;
  /** A line has killed the consumer that works under this token. */
  readonly onKill: (batchId: string, line: number, tokens: ReadonlySet<string>) => void;
}

export class ScriptedUpstream {
  /** Calls by line. */
  readonly calls = new Map<number, number>();
  /** Lines in flight as each call came in. */
  readonly inFlight: { readonly at: number; readonly lines: number; readonly batchId: string }[] = [];
  /** Calls by `batch line`. */
  readonly #callsOfBatches = new Map<string, number>();
  /** Lines that were once answered with a failure, or not at all. */
  readonly failed = new Set<number>();
  #open = 0;
  readonly #answerOf: (line: number, call: number) => ScriptedAnswer;
  readonly #onCall: UpstreamWatch["onCall"];
  readonly #onKill: UpstreamWatch["onKill"];
  readonly #onSuccess: UpstreamWatch["onSuccess"];

  constructor(answerOf: (line: number, call: number) => ScriptedAnswer, { onCall, onKill, onSuccess }: UpstreamWatch) {
    this.#answerOf = answerOf;
    this.#onCall = onCall;
    this.#onKill = onKill;
    this.#onSuccess = onSuccess;
  }

  start(): void {
    vi.spyOn(globalThis, "fetch").mockImplementation((url, init) => this.#answer(url, init));
  }

  async #answer(url: RequestInfo | URL, init: RequestInit | undefined): Promise<Response> {
    const lifetime = consumerLifetime.getStore();
    if (lifetime?.isOver() === true) return new Promise(() => {});
    const { line } = JSON.parse(init?.body as string) as ChatBody;
    // The upstream that is always well.
    if (new Request(url).url.startsWith("http://fine.test/")) return respond({ status: 200, delayMs: 0 }, line, 1);
    const call = (this.calls.get(line) ?? 0) + 1;
    const batchId = batchOf(init);
    const callOfBatch = (this.#callsOfBatches.get(`${batchId} ${line}`) ?? 0) + 1;
    this.calls.set(line, call);
    this.#callsOfBatches.set(`${batchId} ${line}`, callOfBatch);
    this.#onCall(batchId, line);
    const answer = this.#answerOf(line, callOfBatch);
    init?.signal?.addEventListener("abort", () => this.failed.add(line));
    const isFine = answer.status === 200 && answer.body === undefined;
    if (!isFine && answer.status !== "kill") this.failed.add(line);
    if (answer.status === "hang") return new Promise(() => {});
    this.inFlight.push({ at: Date.now(), lines: (this.#open += 1), batchId });
    await new Promise<void>((resolve) => setTimeout(resolve, answer.delayMs));
    this.#open -= 1;
    if (answer.status === "kill") {
      if (lifetime?.isOver() === false) this.#onKill(batchOf(init), line, lifetime.tokens);
      lifetime?.end();
      return new Promise(() => {});
    }
    const isHeard = init?.signal?.aborted !== true && lifetime?.isOver() === false;
    if (isFine && isHeard) this.#onSuccess(batchOf(init), line, lifetime);
    return respond(answer, line, call);
  }
}

function respond(
  { status, retryAfter, body: shape, headers: more, tokens = 5 }: ScriptedAnswer,
  line: number,
  call: number,
): Response {
  if (typeof status === "string") throw new Error("the connection was cut");
  if (shape !== undefined) return new Response(pageOf(shape), { status, headers: { "content-type": "text/html" } });
  const headers = {
    "x-request-id": `req-${line}-${call}`,
    ...(retryAfter === undefined ? {} : { "retry-after": retryAfter }),
    ...more,
  };
  const usage = { prompt_tokens: 3, completion_tokens: tokens - 3, total_tokens: tokens };
  const body = status < 300 ? { id: `chat-${line}-${call}`, usage } : { error: { message: "no", type: "scripted" } };
  return Response.json(body, { status, headers });
}

function pageOf(shape: "page" | "endless" | "broken"): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => {
      controller.enqueue(new TextEncoder().encode("<!doctype html><title>Not the API</title>"));
      if (shape === "page") controller.close();
      if (shape === "broken") controller.error(new Error("the connection was cut"));
    },
  });
}

/** The request's own id begins with the batch's (src/queue/dispatch-run.ts). */
function batchOf(init: RequestInit | undefined): string {
  const requestId = new Headers(init?.headers).get("x-client-request-id") ?? "";
  return requestId.slice(0, requestId.lastIndexOf("-"));
}
