import { env } from "cloudflare:workers";
import { evictDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import { saveBatch } from "../../src/stores/batches.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { holdClockAndQueue, passSeconds, SOME_USAGE, HeldBatch, type Work } from "../support/held-batch.ts";

holdClockAndQueue();

const LEASE_SECONDS = 40;

interface Scene {
  readonly batch: HeldBatch;
  /** What a consumer has at that time; null: nobody is at work. */
  readonly work: Work | null;
}

/** Each brings a batch of three lines to a point at which its object vanishes from memory. */
const POINTS: readonly (readonly [string, () => Promise<Scene>])[] = [
  ["validating", async () => ({ batch: await HeldBatch.start(), work: null })],
  ["in_progress, nothing claimed", async () => ({ batch: await HeldBatch.launch(), work: null })],
  ["in_progress, all claimed", () => claimed(0)],
  ["in_progress, some settled", () => claimed(2)],
  ["finalizing", () => claimed(3)],
  ["cancelling, lines in flight", () => cancelling(0)],
  ["cancelling, some settled", () => cancelling(2)],
  ["final, not published", unpublished],
];

async function claimed(settled: number): Promise<Scene> {
  const batch = await HeldBatch.launch();
  const { token, slices } = await batch.take();
  if (settled > 0) await batch.settle({ token, slices: slices.slice(0, settled) }, { usage: SOME_USAGE });
  return { batch, work: { token, slices: slices.slice(settled) } };
}

async function cancelling(settled: number): Promise<Scene> {
  const scene = await claimed(settled);
  await scene.batch.stub.cancel();
  return scene;
}

async function unpublished(): Promise<Scene> {
  const { batch } = await claimed(3);
  vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is down"));
  await batch.alarm();
  return { batch, work: null };
}

/** Goes on as the platform would: by its alarm, and a consumer for each dispatch. */
async function goOn(batch: HeldBatch): Promise<void> {
  const answered = new Set<string>();
  for (let passes = 0; passes < 100; passes += 1) {
    const alarmTime = await batch.alarmTime();
    if (alarmTime === null) return;
    vi.setSystemTime(Math.max(alarmTime, Date.now()));
    await batch.alarm();
    for (const token of batch.tokens.filter((sent) => !answered.has(sent))) {
      answered.add(token);
      const claim = await batch.claim(token);
      if (claim.kind === "run") await batch.settle({ token, slices: claim.slices }, { phase: "leaving" });
    }
  }
}

describe.each(POINTS)("evicted while %s", (point, prepare) => {
  const status = point.startsWith("cancelling") ? "cancelled" : "completed";

  test("shows the same as before", async () => {
    const { batch } = await prepare();
    const before = await batch.snapshot();
    await evictDurableObject(batch.stub);
    expect(await batch.snapshot()).toEqual(before);
  });

  test("comes to its end within two minutes although its consumers died, with each line once", async () => {
    const { batch } = await prepare();
    const startedAt = Date.now();
    await evictDurableObject(batch.stub);
    await goOn(batch);
    const row = await batch.row();
    expect(row?.status).toBe(status);
    expect(Date.now() - startedAt).toBeLessThan(120_000);
    const lines = [...(await batch.readLines(row?.outputFileId)), ...(await batch.readLines(row?.errorFileId))];
    expect(lines.map((line) => line["custom_id"])).toEqual(["line-0", "line-1", "line-2"]);
    expect([await batch.tables(), await batch.chunkKeys()]).toEqual([[], []]);
  });

  test("comes to its end when it is evicted after every step", async () => {
    const { batch, work } = await prepare();
    for (let passes = 0; passes < 40 && (await batch.alarmTime()) !== null; passes += 1) {
      vi.setSystemTime(Math.max((await batch.alarmTime()) ?? 0, Date.now()));
      await batch.alarm();
      await evictDurableObject(batch.stub);
      if (work !== null && passes === 1) await batch.settle(work, { phase: "leaving" });
      const claim = await batch.claim();
      if (claim.kind !== "run") continue;
      await evictDurableObject(batch.stub);
      await batch.settle({ token: batch.lastToken, slices: claim.slices }, { phase: "leaving" });
      await evictDurableObject(batch.stub);
    }
    expect(await batch.row()).toMatchObject({ status, counts: { total: 3 } });
    expect(await batch.tables()).toEqual([]);
  });
});

describe("after an eviction", () => {
  async function evictedAtWork(): Promise<[HeldBatch, Work]> {
    const batch = await HeldBatch.launch();
    const work = await batch.take();
    passSeconds(LEASE_SECONDS - 1);
    await evictDurableObject(batch.stub);
    return [batch, work];
  }

  test("a consumer at work goes on, with a fresh lease", async () => {
    const [batch, work] = await evictedAtWork();
    await batch.alarm();
    passSeconds(LEASE_SECONDS - 1);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    await batch.settle(work, { usage: SOME_USAGE });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 3 }, usage: SOME_USAGE });
  });

  test("a consumer that died with it loses its lines when the lease is over", async () => {
    const [batch, dead] = await evictedAtWork();
    await batch.alarm();
    passSeconds(LEASE_SECONDS);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(2);
    expect(await batch.settle(dead)).toEqual({ kind: "unknown" });
  });

  test("a token that was used is still used", async () => {
    const [batch] = await evictedAtWork();
    expect(await batch.claim()).toEqual({ kind: "unknown" });
  });

  test("a chunk that was counted is still counted once", async () => {
    const batch = await HeldBatch.launch();
    const { token, slices } = await batch.take();
    const first = { token, slices: slices.slice(0, 1) };
    const chunk = { key: `batches/${batch.id}/one`, lines: [] };
    await batch.settle(first, { chunk, usage: SOME_USAGE });
    await evictDurableObject(batch.stub);
    await batch.settle(first, { chunk, usage: SOME_USAGE });
    expect(await batch.snapshot()).toMatchObject({ counts: { completed: 1 }, usage: SOME_USAGE });
  });

  test("lines that wait for their next try still wait, with their tries counted", async () => {
    const batch = await HeldBatch.launch({ lines: 1 });
    const { token } = await batch.take();
    const dueAt = new Date(Date.now() + 60_000);
    await batch.report({ token, givenBack: [{ line: 0, attempts: 5, dueAt }], phase: "leaving" });
    await evictDurableObject(batch.stub);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    vi.setSystemTime(dueAt);
    await batch.alarm();
    expect((await batch.take()).slices[0]?.lines).toEqual([{ line: 0, attempts: 5 }]);
  });

  test("a dead letter does not put off what is due sooner", async () => {
    const batch = await HeldBatch.launch({ windowSeconds: 20 });
    const alarmTime = (await batch.alarmTime()) ?? 0;
    await evictDurableObject(batch.stub);
    await batch.stub.deadLettered("some other token");
    expect(await batch.alarmTime()).toBeLessThanOrEqual(alarmTime);
  });
});

test("an object stays in memory while leases run, however many batches share its upstream", async () => {
  const batch = await HeldBatch.launch({ upstream: "mock-open" });
  await batch.take();
  const db = await openDatabase(env.DB);
  const row = await batch.row();
  if (row === null) throw new Error("the batch is not listed");
  await Promise.all(Array.from({ length: 600 }, (_, index) => saveBatch(db, { ...row, id: `${row.id}-${index}` })));
  passSeconds(5);
  await batch.alarm();
  expect(await batch.alarmTime()).toBeLessThan(Date.now() + 10_000);
});
