import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import type { BatchRecord } from "../../src/domain/batch.ts";
import { findCurrentBatch } from "../../src/http/find-batch.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

const RANKS: Readonly<Record<BatchRecord["status"], number>> = {
  validating: 0,
  in_progress: 1,
  finalizing: 2,
  cancelling: 2,
  completed: 3,
  cancelled: 3,
  expired: 3,
  failed: 3,
};

const TIMES = ["inProgressAt", "finalizingAt", "completedAt", "failedAt", "cancellingAt", "cancelledAt"] as const;

/** What a client sees of a batch, whenever its coordinator turns to R2. */
class Watcher {
  readonly retrieved: BatchRecord[] = [];
  readonly listed: BatchRecord[] = [];
  readonly #batch: HeldBatch;

  constructor(batch: HeldBatch) {
    this.#batch = batch;
    for (const call of ["get", "put", "list", "delete"] as const) {
      const make = env.BUCKET[call].bind(env.BUCKET) as (...args: unknown[]) => Promise<unknown>;
      const watched = async (...args: unknown[]) => {
        await this.look();
        const reply = await make(...args);
        await this.look();
        return reply;
      };
      vi.spyOn(env.BUCKET, call).mockImplementation(watched as never);
    }
  }

  async look(): Promise<void> {
    const db = await openDatabase(env.DB);
    const { tenant, id } = this.#batch.record;
    const row = await this.#batch.row();
    if (row !== null) this.listed.push(row);
    this.retrieved.push(await findCurrentBatch({ env, db, tenant, id }));
  }

  /** Where a status, a count or a time went backwards. */
  get stepsBack(): readonly string[] {
    return [...findStepsBack(this.retrieved), ...findStepsBack(this.listed)];
  }
}

function findStepsBack(records: readonly BatchRecord[]): readonly string[] {
  return records.flatMap((record, index) => {
    const before = records[index - 1] ?? record;
    const isBehind =
      RANKS[record.status] < RANKS[before.status] ||
      record.counts.completed < before.counts.completed ||
      record.counts.total < before.counts.total ||
      TIMES.some((name) => before.times[name] !== null && record.times[name] === null);
    return isBehind ? [`${before.status} → ${record.status}`] : [];
  });
}

function finalFiles({ status, outputFileId, errorFileId }: BatchRecord): boolean {
  return RANKS[status] === 3 || (outputFileId === null && errorFileId === null);
}

describe("what clients see never goes backwards, and no file is named before it can be downloaded", () => {
  test.each(["completed", "cancelled", "expired", "failed"] as const)("until it is %s", async (end) => {
    const input = end === "failed" ? { input: "no JSON\n" } : { lines: 4, windowSeconds: 20 };
    const batch = await HeldBatch.start(input);
    const watcher = new Watcher(batch);
    await watcher.look();
    await batch.alarm();
    if (end !== "failed") {
      const { token, slices } = await batch.take();
      for (const slice of end === "completed" ? slices : slices.slice(0, 2)) {
        await batch.settle({ token, slices: [slice] });
        await watcher.look();
        passSeconds(5);
        await batch.alarm();
      }
      if (end === "cancelled") await batch.stub.cancel();
      if (end === "expired") vi.setSystemTime(batch.record.expiresAt);
      await batch.report({ token, phase: "leaving" });
    }
    for (let passes = 0; passes < 5; passes += 1) await batch.alarm();
    await watcher.look();
    expect(watcher.stepsBack).toEqual([]);
    expect(watcher.retrieved.at(-1)?.status).toBe(end);
    expect(watcher.retrieved.every(finalFiles)).toBe(true);
    expect(watcher.retrieved.length).toBeGreaterThan(5);
  });

  test("a count never runs ahead of what is stored", async () => {
    const batch = await HeldBatch.launch({ lines: 3 });
    const { token, slices } = await batch.take();
    for (const slice of slices) {
      await batch.settle({ token, slices: [slice] });
      const counted = (await batch.snapshot())?.counts.completed;
      const chunks = await Promise.all((await batch.chunkKeys()).map((key) => env.BUCKET.get(key)));
      const texts = await Promise.all(chunks.map(async (chunk) => chunk?.text()));
      expect(texts.join("").split("\n").length - 1).toBe(counted);
    }
  });
});
