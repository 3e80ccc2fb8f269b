/** Stands in for `fetch`: an upstream that answers each line as the scenario says, and remembers every call. */
import { vi } from "vitest";
import { lives } from "./injector.ts";
import type { ScriptedAnswer } from "./scenario.ts";

interface ChatBody {
  readonly line: number;
}

export class ScriptedUpstream {
  /** Calls by line. */
  readonly calls = new Map<number, number>();
  readonly #answerOf: (line: number, call: number) => ScriptedAnswer;
  readonly #onCall: (batchId: string, line: number) => void;

  constructor(
    answerOf: (line: number, call: number) => ScriptedAnswer,
    onCall: (batchId: string, line: number) => void,
  ) {
    this.#answerOf = answerOf;
    this.#onCall = onCall;
  }

  start(): void {
    vi.spyOn(globalThis, "fetch").mockImplementation((_url, init) => this.#answer(init));
  }

  async #answer(init: RequestInit | undefined): Promise<Response> {
    const life = lives.getStore();
    if (life?.isOver() === true) return new Promise(() => {});
    const { line } = JSON.parse(init?.body as string) as ChatBody;
    const call = (this.calls.get(line) ?? 0) + 1;
    this.calls.set(line, call);
    this.#onCall(batchOf(init), line);
    const { status, delayMs, retryAfter } = this.#answerOf(line, call);
    if (status === "hang") return new Promise(() => {});
    await new Promise<void>((resolve) => setTimeout(resolve, delayMs));
    if (status === "cut") throw new Error("the connection was cut");
    const headers = {
      "x-request-id": `req-${line}-${call}`,
      ...(retryAfter === undefined ? {} : { "retry-after": retryAfter }),
    };
    const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
    const body = status < 300 ? { id: `chat-${line}-${call}`, usage } : { error: { message: "no", type: "scripted" } };
    return Response.json(body, { status, headers });
  }
}

/** The request's own id begins with the batch's (src/queue/dispatch-run.ts). */
function batchOf(init: RequestInit | undefined): string {
  const requestId = new Headers(init?.headers).get("x-client-request-id") ?? "";
  return requestId.slice(0, requestId.lastIndexOf("-"));
}
