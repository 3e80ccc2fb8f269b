import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import type { BatchRecord } from "../../src/domain/batch.ts";
import { readBatch } from "../../src/http/live-batch.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { holdClockAndQueue, passSeconds, StillBatch } from "./still-batch.ts";

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
  readonly #batch: StillBatch;

  constructor(batch: StillBatch) {
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
    const { tenant, id } = this.#batch.order;
    const row = await this.#batch.row();
    if (row !== null) this.listed.push(row);
    this.retrieved.push(await readBatch({ env, db, tenant, id }));
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
    const batch = await StillBatch.start(input);
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
      if (end === "expired") vi.setSystemTime(batch.order.expiresAt);
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
    const batch = await StillBatch.launch({ lines: 3 });
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

describe("an alarm that fires twice", () => {
  async function fireTwice(batch: StillBatch): Promise<void> {
    await batch.alarm();
    await runInDurableObject(batch.stub, (_, state) => state.storage.setAlarm(Date.now()));
    await batch.alarm();
  }

  test("at every step changes nothing the second time", async () => {
    const batch = await StillBatch.start();
    await fireTwice(batch);
    expect(batch.tokens).toHaveLength(1);
    await batch.settle(await batch.take(), { failed: [2] });
    await fireTwice(batch);
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 3, completed: 2, failed: 1 } });
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(2);
    await fireTwice(batch);
    expect(await batch.row()).toEqual(row);
    expect(await batch.tables()).toEqual([]);
  });

  test("after the end leaves deleted result files deleted", async () => {
    const batch = await StillBatch.launch({ lines: 1 });
    await batch.settle(await batch.take());
    vi.spyOn(env.BUCKET, "list").mockRejectedValueOnce(new Error("R2 is down"));
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe("completed");
    await env.DB.prepare("DELETE FROM files WHERE id = ?1").bind(row?.outputFileId).run();
    passSeconds(60);
    await fireTwice(batch);
    expect(await batch.file(row?.outputFileId)).toBeNull();
    expect(await batch.tables()).toEqual([]);
  });

  test("at the same time runs once", async () => {
    const batch = await StillBatch.start();
    await Promise.all([runDurableObjectAlarm(batch.stub), runDurableObjectAlarm(batch.stub)]);
    expect(batch.tokens).toHaveLength(1);
  });

  test("while the batch is being started waits for it", async () => {
    const batch = await StillBatch.prepare();
    const prepare = env.DB.prepare.bind(env.DB);
    const fired: Promise<boolean>[] = [];
    vi.spyOn(env.DB, "prepare").mockImplementation((sql) => {
      if (fired.length === 0 && sql.includes("INSERT INTO batches")) fired.push(batch.alarm());
      return prepare(sql);
    });
    await batch.begin();
    await Promise.all(fired);
    expect(fired).toHaveLength(1);
    await batch.alarm();
    expect(await batch.status()).toBe("in_progress");
  });
});
