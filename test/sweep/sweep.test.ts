import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { BatchRecord } from "../../src/domain/batch.ts";
import { saveFinalBatch, findBatch, saveBatch } from "../../src/stores/batches.ts";
import { insertFile } from "../../src/stores/files.ts";
import { chunkKey, fileKey, resultMetadata } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { LIVE_BATCHES, REMOVABLE_FILES } from "../../src/stores/sweeps.ts";
import worker from "../../src/index.ts";
import { sweep } from "../../src/sweep/sweep.ts";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";

const DAY_MS = 86_400_000;
const TEN_MINUTES = 600;

holdClockAndQueue();

beforeEach(async () => {
  const db = await openDatabase(env.DB);
  await db.batch(["files", "batches", "sweep_cursors"].map((table) => db.prepare(`DELETE FROM ${table}`)));
  for (let left = true; left;) {
    const { objects } = await env.BUCKET.list();
    if (objects.length > 0) await env.BUCKET.delete(objects.map(({ key }) => key));
    left = objects.length > 0;
  }
});

function run() {
  return sweep(env, new Date());
}

interface MadeFile {
  /** Null: never. */
  readonly expiresInMs: number | null;
  readonly isDeleted: boolean;
}

/** A file with a row and bytes. */
async function makeFile({ expiresInMs = null, isDeleted = false }: Partial<MadeFile> = {}): Promise<string> {
  const id = `file-${crypto.randomUUID()}`;
  await env.BUCKET.put(fileKey(id), "{}");
  const db = await openDatabase(env.DB);
  const createdAt = new Date(Date.now() - DAY_MS);
  const expiresAt = expiresInMs === null ? null : new Date(Date.now() + expiresInMs);
  await insertFile(db, { id, tenant: "t", purpose: "batch", filename: "f", bytes: 2, createdAt, expiresAt });
  if (isDeleted) await db.prepare("UPDATE files SET deleted_at = 1 WHERE id = ?1").bind(id).run();
  return id;
}

/** Which of a file's traces are there. */
async function traces(id: string): Promise<readonly ("row" | "bytes")[]> {
  const row = await env.DB.prepare("SELECT 1 FROM files WHERE id = ?1").bind(id).first();
  const object = await env.BUCKET.head(fileKey(id));
  return [...(row === null ? [] : (["row"] as const)), ...(object === null ? [] : (["bytes"] as const))];
}

/** A row that no coordinator knows of. */
async function makeRow(change: Partial<BatchRecord> = {}): Promise<BatchRecord> {
  const { record } = await HeldBatch.prepare();
  const batch: BatchRecord = { ...record, tenant: "t", ...change };
  await saveBatch(await openDatabase(env.DB), batch);
  return batch;
}

async function statusOf({ tenant, id }: BatchRecord): Promise<string | undefined> {
  return (await findBatch(env.DB, tenant, id))?.status;
}

describe("a file", () => {
  test.each([
    ["has expired", { expiresInMs: -1 }, []],
    ["expires this instant", { expiresInMs: 0 }, []],
    ["was deleted, and a crash left its bytes", { isDeleted: true }, []],
    ["was deleted and has expired", { isDeleted: true, expiresInMs: -1 }, []],
    ["was deleted before its time", { isDeleted: true, expiresInMs: 1 }, []],
    ["lives", { expiresInMs: 1 }, ["row", "bytes"]],
    ["lives for ever", {}, ["row", "bytes"]],
  ])("that %s", async (_, made, expected) => {
    const id = await makeFile(made);
    expect(await run()).toMatchObject({ filesRemoved: expected.length === 0 ? 1 : 0 });
    expect(await traces(id)).toEqual(expected);
    expect(await run()).toMatchObject({ filesRemoved: 0 });
  });

  test.each(["validating", "in_progress", "finalizing", "cancelling"] as const)(
    "that a batch reads which is %s is kept until that batch is done",
    async (status) => {
      const id = await makeFile({ expiresInMs: -1, isDeleted: true });
      const batch = await makeRow({ inputFileId: id, status });
      await run();
      expect(await traces(id)).toEqual(["row", "bytes"]);
      await saveBatch(env.DB, { ...batch, status: "completed" });
      await run();
      expect(await traces(id)).toEqual([]);
    },
  );

  test("is not held by another tenant's batch that names it", async () => {
    const id = await makeFile({ expiresInMs: -1 });
    await makeRow({ inputFileId: id, tenant: "somebody else" });
    await run();
    expect(await traces(id)).toEqual([]);
  });

  test("is hidden before its bytes go, and keeps its row until they are gone", async () => {
    const id = await makeFile({ expiresInMs: -1 });
    const removal = vi.spyOn(env.BUCKET, "delete").mockRejectedValue(new Error("R2 is away"));
    await run();
    const row = await env.DB.prepare("SELECT deleted_at FROM files WHERE id = ?1").bind(id).first("deleted_at");
    expect(row).toBe(Date.now());
    removal.mockRestore();
    await run();
    expect(await traces(id)).toEqual([]);
  });

  test("is one of at most 900 that go in one run; the rest goes in the next", async () => {
    const db = await openDatabase(env.DB);
    await db
      .prepare(
        `INSERT INTO files (id, tenant, purpose, filename, bytes, created_at, expires_at)
         WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 905)
         SELECT 'file-' || n, 't', 'batch', 'f', 0, 0, 1 FROM number`,
      )
      .run();
    expect(await run()).toMatchObject({ filesRemoved: 900 });
    expect(await run()).toMatchObject({ filesRemoved: 5 });
    expect(await run()).toMatchObject({ filesRemoved: 0 });
  });
});

describe("an object", () => {
  /** A sweep that takes place when the object is of that age. */
  async function sweepAtAge(key: string, ageMs: number) {
    const uploaded = (await env.BUCKET.head(key))?.uploaded.getTime() ?? 0;
    return sweep(env, new Date(uploaded + ageMs));
  }

  test.each([
    ["a file without a row", () => fileKey(crypto.randomUUID())],
    ["a chunk of a batch that nobody knows", () => chunkKey("batch_0", crypto.randomUUID())],
    ["a chunk without a batch", () => "batches/stray"],
  ])("goes when it is %s and older than a day", async (_, makeKey) => {
    const key = makeKey();
    await env.BUCKET.put(key, "x");
    expect(await sweepAtAge(key, DAY_MS)).toMatchObject({ orphansRemoved: 0 });
    expect(await env.BUCKET.head(key)).not.toBeNull();
    expect(await sweepAtAge(key, DAY_MS + 1)).toMatchObject({ orphansRemoved: 1 });
    expect(await env.BUCKET.head(key)).toBeNull();
    expect(await run()).toMatchObject({ orphansRemoved: 0 });
  });

  test("stays when it is a file with a row, however old", async () => {
    const id = await makeFile();
    expect(await run()).toMatchObject({ orphansRemoved: 0 });
    expect(await traces(id)).toEqual(["row", "bytes"]);
  });

  test.each([
    ["a chunk", (id: string) => chunkKey(id, "one")],
    ["a result that is not published yet", (id: string) => fileKey(`file-of-${id}`)],
  ])("stays while it is %s of a live batch", async (_, makeKey) => {
    const batch = await makeRow();
    const key = makeKey(batch.id);
    await env.BUCKET.put(key, "x", { customMetadata: resultMetadata(batch.id) });
    expect(await run()).toMatchObject({ orphansRemoved: 0 });
    expect(await env.BUCKET.head(key)).not.toBeNull();
    await saveBatch(env.DB, { ...batch, status: "expired" });
    expect(await run()).toMatchObject({ orphansRemoved: 1 });
    expect(await env.BUCKET.head(key)).toBeNull();
  });

  test("stays when it is the result of a batch that D1 would not hear of for days", async () => {
    const batch = await HeldBatch.launch();
    await batch.settle(await batch.take(), { phase: "leaving" });
    vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is down"));
    await batch.alarm();
    passSeconds(3 * 86_400);
    expect(await run()).toMatchObject({ orphansRemoved: 0 });
    await batch.alarm();
    const row = await batch.row();
    expect(row?.status).toBe("completed");
    expect(await batch.readLines(row?.outputFileId)).toHaveLength(3);
  });

  test("is looked at page by page, over as many runs as it takes, and from the start again", async () => {
    const keys = Array.from({ length: 1003 }, (_, number) => `files/orphan-${String(number).padStart(5, "0")}`);
    for (let from = 0; from < keys.length; from += 50) {
      await Promise.all(keys.slice(from, from + 50).map((key) => env.BUCKET.put(key, "")));
    }
    expect(await run()).toMatchObject({ orphansRemoved: 1000 });
    const cursor = () =>
      env.DB.prepare("SELECT position FROM sweep_cursors WHERE name = 'files/'").first<string>("position");
    expect(await cursor()).toBe(keys[999]);
    await env.BUCKET.put("files/orphan-00000", "");
    expect(await run()).toMatchObject({ orphansRemoved: 3 });
    expect(await cursor()).toBe("");
    expect(await run()).toMatchObject({ orphansRemoved: 1 });
  });
});

describe("a batch", () => {
  test("whose coordinator went silent goes on", async () => {
    const batch = await HeldBatch.start();
    await batch.loseAlarm();
    expect(await batch.alarm()).toBe(false);
    expect(await run()).toMatchObject({ batchesWoken: 1 });
    expect(await batch.alarm()).toBe(true);
    expect(await batch.status()).toBe("in_progress");
    expect(await batch.row()).toMatchObject({ status: "in_progress" });
  });

  test("that is at work notices nothing", async () => {
    const batch = await HeldBatch.launch();
    const { token, slices } = await batch.take();
    await run();
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    expect(await batch.settle({ token, slices }, { phase: "leaving" })).toEqual({ kind: "stop" });
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 3 } });
  });

  test("that was cancelling when its coordinator went silent becomes cancelled", async () => {
    const batch = await HeldBatch.launch();
    await batch.stub.cancel();
    await batch.loseAlarm();
    await run();
    await batch.alarm();
    expect(await batch.row()).toMatchObject({ status: "cancelled" });
  });

  test.each(["validating", "in_progress", "finalizing", "cancelling"] as const)(
    "that is %s in D1 and nowhere else has failed, after ten minutes",
    async (status) => {
      const batch = await makeRow({ status });
      passSeconds(TEN_MINUTES - 1);
      await run();
      expect(await statusOf(batch)).toBe(status);
      passSeconds(1);
      await run();
      expect(await findBatch(env.DB, batch.tenant, batch.id)).toMatchObject({
        status: "failed",
        errors: [{ code: "server_error", message: "The state of this batch was lost.", param: null, line: null }],
        times: { failedAt: new Date() },
      });
      expect(await run()).toMatchObject({ batchesWoken: 0 });
    },
  );

  test("that became final since D1 was asked stays as it is, and says nothing", async () => {
    const stale = await makeRow({ status: "in_progress" });
    await saveFinalBatch(env.DB, { ...stale, status: "completed" }, []);
    passSeconds(TEN_MINUTES);
    const logged = vi.spyOn(console, "log");
    await env.COORDINATORS.getByName(stale.id).wake(stale);
    expect(await statusOf(stale)).toBe("completed");
    expect(logged).not.toHaveBeenCalled();
  });

  test("that D1 no longer knows is not brought back", async () => {
    const batch = await makeRow();
    await env.DB.prepare("DELETE FROM batches WHERE id = ?1").bind(batch.id).run();
    passSeconds(TEN_MINUTES);
    await env.COORDINATORS.getByName(batch.id).wake(batch);
    expect(await statusOf(batch)).toBeUndefined();
  });

  test("is one of at most 200 that are woken in one run; the rest is woken in the next", async () => {
    const { record } = await HeldBatch.prepare();
    const db = await openDatabase(env.DB);
    const ids = Array.from({ length: 203 }, (_, number) => `batch_${String(number).padStart(5, "0")}`);
    await Promise.all(ids.map((id) => saveBatch(db, { ...record, id })));
    expect(await run()).toMatchObject({ batchesWoken: 200 });
    expect(await run()).toMatchObject({ batchesWoken: 3 });
    expect(await run()).toMatchObject({ batchesWoken: 200 });
  });

  test("that cannot be woken does not keep the others asleep", async () => {
    const [first, second] = [await HeldBatch.start(), await HeldBatch.start()];
    await first.loseAlarm();
    await second.loseAlarm();
    const [early, late] = [first, second].toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const wake = env.COORDINATORS.getByName.bind(env.COORDINATORS);
    const asked = vi.spyOn(env.COORDINATORS, "getByName").mockImplementation((name) => {
      if (name === early?.id) throw new Error("its machine is away");
      return wake(name);
    });
    const complained = vi.spyOn(console, "error").mockReturnValue();
    expect(await run()).toMatchObject({ batchesWoken: 1 });
    expect(complained.mock.calls).toEqual([
      [JSON.stringify({ event: "sweep_failed", part: "batches", batch: early?.id, error: "its machine is away" })],
    ]);
    asked.mockRestore();
    expect(await late?.alarm()).toBe(true);
  });
});

describe("a run", () => {
  test.each([
    [
      "R2 does not list",
      () => vi.spyOn(env.BUCKET, "list").mockRejectedValue(new Error("away")),
      ["file objects", "chunks"],
    ],
    ["R2 does not delete", () => vi.spyOn(env.BUCKET, "delete").mockRejectedValue(new Error("away")), ["files"]],
    [
      "D1 is away",
      () =>
        vi.spyOn(env.DB, "prepare").mockImplementation(() => {
          throw new Error("away");
        }),
      ["files", "file objects", "chunks", "batches"],
    ],
  ])("in which %s does what else there is to do", async (_, breakIt, parts) => {
    await makeFile({ expiresInMs: -1 });
    const batch = await HeldBatch.start();
    await batch.loseAlarm();
    breakIt();
    const complained = vi.spyOn(console, "error").mockReturnValue();
    const counts = await run();
    expect(complained.mock.calls.map(([line]) => JSON.parse(String(line)) as unknown)).toEqual(
      parts.map((part) => ({ event: "sweep_failed", part, error: "away" })),
    );
    expect(counts).toMatchObject({
      filesRemoved: parts.includes("files") ? 0 : 1,
      batchesWoken: parts.includes("batches") ? 0 : 1,
    });
  });

  test("is started by the cron trigger and leaves one line in the log", async () => {
    await makeFile({ expiresInMs: -1 });
    const logged = vi.spyOn(console, "log").mockReturnValue();
    await worker.scheduled({ scheduledTime: Date.now(), cron: "*/5 * * * *", noRetry: () => {} }, env);
    expect(logged.mock.calls).toEqual([
      [JSON.stringify({ event: "sweep", filesRemoved: 1, orphansRemoved: 0, batchesWoken: 0, ms: 0 })],
    ]);
  });

  test.each([
    ["files", REMOVABLE_FILES, ["files_by_expiry", "files_deleted", "batches_live_by_file"]],
    ["batches", LIVE_BATCHES, ["batches_live_by_id"]],
  ])("asks for %s by their indexes, and sorts nothing", async (_, query, indexes) => {
    const db = await openDatabase(env.DB);
    const plan = await db.prepare(`EXPLAIN QUERY PLAN ${query}`).bind("0", 5).all<{ detail: string }>();
    const steps = plan.results.map(({ detail }) => detail).join("\n");
    for (const index of indexes) expect(steps).toContain(`INDEX ${index}`);
    expect(steps).not.toMatch(/SCAN|TEMP B-TREE/);
  });
});
