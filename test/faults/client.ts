/** The client of a fault run: uploads, creates, polls, and perhaps cancels or deletes, as an SDK would. */
import { createExecutionContext } from "cloudflare:test";
import type { BatchStatus } from "../../src/domain/batch.ts";
import { app } from "../../src/http/app.ts";
import type { FaultRun } from "./fault-run.ts";

export interface BatchReply {
  readonly id: string;
  readonly status: BatchStatus;
  readonly expires_at: number;
  readonly output_file_id: string | null;
  readonly error_file_id: string | null;
  readonly request_counts: { readonly total: number; readonly completed: number; readonly failed: number };
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

/** As the SDKs do it: two more. */
const MAX_TRIES = 3;
const FIRST_POLL_MS = 7000;
const LAST_POLL_MS = 60_000;
/** A reply this soon after a fault may be older than the one before it. */
const COPY_IS_OLD_MS = 5_000;

const FINAL: ReadonlySet<string> = new Set(["completed", "failed", "expired", "cancelled"]);

/** What a client does, where it is not what its run's scenario says. */
export interface ClientPlan {
  readonly lines: number;
  /** Milliseconds after the start of the run. */
  readonly beginsAfterMs: number;
  /** Milliseconds after the batch was created; null: never. */
  readonly cancelAfterMs: number | null;
}

export class Client {
  readonly #run: FaultRun;
  readonly plan: ClientPlan;
  /** As last seen; null when it was never created. */
  batch: BatchReply | null = null;
  isCancelAccepted = false;
  inputFileId: string | null = null;
  readonly #upstream: string;

  constructor(run: FaultRun, upstream = "mock", plan: Partial<ClientPlan> = {}) {
    this.#run = run;
    this.#upstream = upstream;
    const { lines, cancelAfterMs } = run.scenario;
    this.plan = { lines, cancelAfterMs, beginsAfterMs: 0, ...plan };
  }

  /** Gives up where an SDK would. */
  async run(): Promise<void> {
    const { lines, beginsAfterMs, cancelAfterMs } = this.plan;
    if (beginsAfterMs > 0) await this.#run.wait(beginsAfterMs);
    const uploaded = await this.#ask("POST", "/v1/files", () => inputForm(lines));
    if (uploaded.status !== 200) return;
    this.inputFileId = (uploaded.body as { id: string }).id;
    const order = {
      input_file_id: this.inputFileId,
      endpoint: "/v1/chat/completions",
      completion_window: this.#run.scenario.window,
    };
    const created = await this.#ask("POST", "/v1/batches", () => JSON.stringify(order));
    if (created.status !== 200) return;
    this.#see(created.body as BatchReply);
    const { deleteInputAfterMs } = this.#run.scenario;
    await Promise.all([this.#poll(), this.#cancelAfter(cancelAfterMs), this.#deleteInputAfter(deleteInputAfterMs)]);
  }

  /** The batch's bytes in a file, or null. */
  async #poll(): Promise<void> {
    for (let waitMs = FIRST_POLL_MS; this.batch !== null && !FINAL.has(this.batch.status); waitMs *= 1.3) {
      await this.#run.wait(Math.min(waitMs, LAST_POLL_MS));
      const { status, body } = await this.#ask("GET", `/v1/batches/${this.batch.id}`);
      if (status === 200) this.#see(body as BatchReply);
      else if (status < 500) this.#run.rules.broken(`a poll was answered ${status}`);
    }
  }

  async #cancelAfter(delayMs: number | null): Promise<void> {
    if (delayMs === null || this.batch === null) return;
    await this.#run.wait(delayMs);
    const { status, body } = await this.#ask("POST", `/v1/batches/${this.batch.id}/cancel`);
    if (status === 200) {
      this.isCancelAccepted = true;
      this.#see(body as BatchReply);
    } else if (status !== 409 && status < 500) this.#run.rules.broken(`cancel was answered ${status}`);
  }

  async #deleteInputAfter(delayMs: number | null): Promise<void> {
    if (delayMs === null) return;
    await this.#run.wait(delayMs);
    const { status } = await this.#ask("DELETE", `/v1/files/${this.inputFileId}`);
    // 404: a try whose answer was lost had its effect.
    if (status !== 200 && status !== 404 && status < 500) this.#run.rules.broken(`delete was answered ${status}`);
  }

  #see(batch: BatchReply): void {
    // While the coordinator cannot be reached a poll is answered from D1's copy, which is some seconds old.
    if (this.#run.injector.lastFaultAt > Date.now() - COPY_IS_OLD_MS) {
      if (this.batch === null || FINAL.has(batch.status)) this.batch = batch;
      return;
    }
    const last = this.batch?.request_counts;
    const { completed, failed } = batch.request_counts;
    if (last !== undefined && (completed < last.completed || failed < last.failed)) {
      this.#run.rules.broken(`counts went from ${JSON.stringify(last)} to ${JSON.stringify(batch.request_counts)}`);
    }
    this.#run.rules.noteStatus("the client", batch.id, batch.status);
    this.batch = batch;
  }

  /** Asks again after a 5xx, later and later. */
  async #ask(method: string, path: string, makeBody: () => BodyInit | null = () => null): Promise<Reply> {
    for (let tries = 1; ; tries += 1) {
      const reply = await this.#run.busy(`${method} ${path}`, () => this.#askOnce(method, path, makeBody()));
      if (reply.status < 500 || tries === MAX_TRIES) return reply;
      await this.#run.wait(500 * 2 ** tries);
    }
  }

  async #askOnce(method: string, path: string, body: BodyInit | null): Promise<Reply> {
    const request = new Request(`http://nightshift.test${path}`, {
      method,
      body,
      headers: {
        authorization: "Bearer sk-test",
        "x-portkey-provider": this.#upstream,
        ...(typeof body === "string" ? { "content-type": "application/json" } : {}),
      },
    });
    const response = await app.fetch(request, this.#run.httpEnv, createExecutionContext());
    return { status: response.status, body: await response.json() };
  }
}

export function customIdOf(line: number): string {
  return `line-${line}`;
}

function inputForm(lines: number): FormData {
  const texts = Array.from({ length: lines }, (_, line) => {
    const body = { model: "m", messages: [{ role: "user", content: "x".repeat(line % 7) }], line };
    return JSON.stringify({ custom_id: customIdOf(line), method: "POST", url: "/v1/chat/completions", body });
  });
  const form = new FormData();
  form.set("purpose", "batch");
  form.set("file", new File([`${texts.join("\n")}\n`], "input.jsonl"));
  return form;
}
