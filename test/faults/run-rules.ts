/** What must be true at every moment of a fault run; every rule that was broken is kept, in words. */
import { env } from "cloudflare:workers";
import { BATCH_STATUSES, type BatchStatus, canMove } from "../../src/domain/batch.ts";
import { chunkPrefix } from "../../src/stores/object-keys.ts";
import type { Probe } from "./coordinator-probe.ts";
import { LineHolders } from "./line-holders.ts";

export class RunRules {
  /** Rules that were broken. */
  readonly violations: string[] = [];
  /** Which consumers had each line. */
  readonly holders = new LineHolders();
  /** `batch line` of those that are settled. */
  readonly #settled = new Set<string>();
  /** By `observer batch`: the status that this observer saw last. */
  readonly #statuses = new Map<string, BatchStatus>();
  /** By batch: how many of its chunks were compared with what R2 has. */
  readonly #checkedChunks = new Map<string, number>();

  broken(rule: string): void {
    this.violations.push(rule);
  }

  /** Somebody saw this batch in this status: each observer sees it move along the arrows only. */
  noteStatus(observer: string, batchId: string, status: BatchStatus): void {
    const key = `${observer} ${batchId}`;
    const last = this.#statuses.get(key) ?? "validating";
    if (!leadsTo(last, status)) this.broken(`${observer} saw ${last}, then ${status}`);
    this.#statuses.set(key, status);
  }

  /** The lines that the object has counted. */
  noteSettled(batchId: string, { chunks }: Probe): void {
    for (const { line, result } of chunks.flatMap(({ lines }) => lines)) {
      if (result !== "void") this.#settled.add(`${batchId} ${line}`);
    }
  }

  /** A line is never sent again once it has settled. */
  noteSent(batchId: string, line: number): void {
    this.holders.noteSent(batchId, line);
    if (this.#settled.has(`${batchId} ${line}`)) this.broken(`line ${line} was sent after it had settled`);
  }

  /** The line that a consumer died of: from the third time on no other line dies with it, and there is no fifth. */
  noteKill(batchId: string, line: number, tokens: ReadonlySet<string>): void {
    const rule = this.holders.noteKill(batchId, line, tokens);
    if (rule !== null) this.broken(rule);
  }

  /** Every chunk that is counted is stored, whole. */
  async checkChunks(batchId: string, { chunks }: Probe): Promise<void> {
    if (chunks.length <= (this.#checkedChunks.get(batchId) ?? 0)) return;
    this.#checkedChunks.set(batchId, chunks.length);
    const { objects } = await env.BUCKET.list({ prefix: chunkPrefix(batchId) });
    const sizes = new Map(objects.map(({ key, size }) => [key, size]));
    for (const { key, lines } of chunks) {
      const bytes = lines.reduce((sum, line) => sum + line.bytes, 0);
      if (sizes.get(key) !== bytes) this.broken(`chunk ${key} is counted, but not stored`);
    }
  }
}

/** Along the arrows of src/domain/batch.ts; nobody has to see every status. */
function leadsTo(from: BatchStatus, to: BatchStatus): boolean {
  return from === to || BATCH_STATUSES.some((next) => canMove(from, next) && leadsTo(next, to));
}
