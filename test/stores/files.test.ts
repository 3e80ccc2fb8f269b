import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, test, vi } from "vitest";
import type { FileRecord } from "../../src/domain/file.ts";
import { MAX_UPLOAD_HELD_BYTES, UPLOAD_PART_BYTES } from "../../src/domain/limits.ts";
import {
  findFile,
  findInputFile,
  hideFile,
  insertFile,
  isFileHidden,
  listFiles,
  removeFile,
} from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { ObjectUpload } from "../../src/stores/object-upload.ts";
import { openDatabase } from "../../src/stores/schema.ts";

const now = new Date("2026-11-22T03:00:00Z");
const db = env.DB;

beforeAll(async () => {
  await openDatabase(db);
});

function makeFile(changes: Partial<FileRecord> = {}): FileRecord {
  return {
    id: `file-${crypto.randomUUID()}`,
    tenant: "org-a",
    purpose: "batch",
    filename: "naïve 猫.jsonl",
    bytes: 209_715_200,
    createdAt: now,
    expiresAt: null,
    ...changes,
  };
}

function later(milliseconds: number): Date {
  return new Date(now.getTime() + milliseconds);
}

describe("files", () => {
  test("are found as they were inserted, by their own tenant only", async () => {
    const file = makeFile({ expiresAt: later(1000) });
    await insertFile(db, file);
    expect(await findFile(db, { tenant: "org-a", id: file.id, now })).toEqual(file);
    expect(await findFile(db, { tenant: "org-b", id: file.id, now })).toBeNull();
  });

  test("are gone from the moment they expire", async () => {
    const file = makeFile({ tenant: "org-expiring", expiresAt: later(1000) });
    await insertFile(db, file);
    const query = { tenant: file.tenant, purpose: null, order: "asc", limit: 10, after: null } as const;
    expect(await findFile(db, { ...file, now: later(999) })).toEqual(file);
    expect(await listFiles(db, { ...query, now: later(999) })).toEqual([file]);
    expect(await findFile(db, { ...file, now: later(1000) })).toBeNull();
    expect(await listFiles(db, { ...query, now: later(1000) })).toEqual([]);
    expect(await hideFile(db, { ...file, now: later(1000) })).toBe(false);
  });

  test("are hidden once, by their own tenant only", async () => {
    const file = makeFile();
    await insertFile(db, file);
    expect(await hideFile(db, { tenant: "org-b", id: file.id, now })).toBe(false);
    expect(await isFileHidden(db, file.id)).toBe(false);
    expect(await hideFile(db, { ...file, now })).toBe(true);
    expect(await isFileHidden(db, file.id)).toBe(true);
    expect(await hideFile(db, { ...file, now })).toBe(false);
    expect(await findFile(db, { ...file, now })).toBeNull();
  });

  test("stay readable for batches that were created before they were deleted or expired", async () => {
    const file = makeFile({ expiresAt: later(5000) });
    await insertFile(db, file);
    await hideFile(db, { ...file, now: later(2000) });
    const batch = { tenant: file.tenant, inputFileId: file.id };
    expect(await findInputFile(db, { ...batch, createdAt: later(1000) })).toEqual(file);
    expect(await findInputFile(db, { ...batch, createdAt: later(3000) })).toBeNull();
    expect(await findInputFile(db, { ...batch, tenant: "org-b", createdAt: later(1000) })).toBeNull();
    const expired = makeFile({ expiresAt: later(5000) });
    await insertFile(db, expired);
    const late = { tenant: expired.tenant, inputFileId: expired.id };
    expect(await findInputFile(db, { ...late, createdAt: later(4999) })).toEqual(expired);
    expect(await findInputFile(db, { ...late, createdAt: later(5000) })).toBeNull();
  });

  test("are removed with their bytes, as often as it is asked", async () => {
    const file = makeFile();
    await insertFile(db, file);
    await env.BUCKET.put(fileKey(file.id), "bytes");
    await removeFile(db, env.BUCKET, file.id);
    await removeFile(db, env.BUCKET, file.id);
    expect(await env.BUCKET.head(fileKey(file.id))).toBeNull();
    expect(await findInputFile(db, { tenant: "org-a", inputFileId: file.id, createdAt: new Date(0) })).toBeNull();
  });

  test("are listed page by page, either way round, ties broken by the id", async () => {
    const tenant = "org-listing";
    const files = [1, 2, 2, 2, 3].map((second, index) =>
      makeFile({
        tenant,
        id: `file-${index}`,
        createdAt: later(second * 1000),
        purpose: index % 2 === 0 ? "batch" : "vision",
      }),
    );
    for (const file of files) await insertFile(db, file);
    const query = { tenant, purpose: null, now } as const;
    for (const order of ["asc", "desc"] as const) {
      const expected = order === "asc" ? files : files.toReversed();
      const seen: FileRecord[] = [];
      for (let after: FileRecord | null = null; ;) {
        const page = await listFiles(db, { ...query, order, limit: 2, after });
        seen.push(...page);
        after = page.at(-1) ?? null;
        if (after === null) break;
      }
      expect(seen).toEqual(expected);
    }
    const batches = await listFiles(db, {
      ...query,
      order: "asc",
      limit: 10,
      after: files[0] ?? null,
      purpose: "batch",
    });
    expect(batches.map((file) => file.id)).toEqual(["file-2", "file-4"]);
    expect(await listFiles(db, { ...query, tenant: "org-b", order: "asc", limit: 10, after: null })).toEqual([]);
  });
});

describe("an object of unknown length", () => {
  const part = UPLOAD_PART_BYTES;

  test.each([
    ["nothing", []],
    ["a few bytes", [5, 7]],
    ["a byte less than a part", [part - 1]],
    ["just one part", [part / 2, part / 2]],
    ["a byte more than a part", [part, 1]],
    ["more than two parts in one piece", [2 * part + 3]],
    ["three parts in uneven pieces", [part - 1, part + 2, part - 1]],
    ["a part and all that is held beside it", [part, MAX_UPLOAD_HELD_BYTES - part]],
    ["a part, all that is held beside it, and a byte", [part, MAX_UPLOAD_HELD_BYTES - part, 1]],
    ["many small pieces", Array.from({ length: 60 }, () => 256 * 1024 - 1)],
  ])("holds %s", async (_, lengths) => {
    const key = `files/${crypto.randomUUID()}`;
    const bytes = makeBytes(lengths.reduce((sum, length) => sum + length, 0));
    const upload = new ObjectUpload(env.BUCKET, key);
    let at = 0;
    for (const length of lengths) {
      // What was written may be overwritten at once.
      const piece = bytes.slice(at, at + length);
      await upload.write(piece);
      piece.fill(0);
      at += length;
    }
    await upload.finish();
    const object = await env.BUCKET.get(key);
    expect(await digest((await object?.arrayBuffer()) ?? new ArrayBuffer())).toBe(await digest(bytes));
    await env.BUCKET.delete(key);
  });

  test.each([
    ["before its first byte", 0],
    ["within the first part", 10],
    ["within the third part", 2 * part + 1],
  ])("leaves nothing when it is aborted %s", async (_, length) => {
    const key = `files/${crypto.randomUUID()}`;
    const created = vi.spyOn(env.BUCKET, "createMultipartUpload");
    const upload = new ObjectUpload(env.BUCKET, key);
    await upload.write(makeBytes(length));
    await upload.abort();
    expect(await env.BUCKET.head(key)).toBeNull();
    for (const { value } of created.mock.results) {
      const multipart = (await value) as R2MultipartUpload;
      await expect(multipart.uploadPart(9, "late")).rejects.toThrow(/does not exist/);
    }
    expect(created.mock.results.length).toBe(length > part ? 1 : 0);
    created.mockRestore();
  });

  test.each([
    ["takes", MAX_UPLOAD_HELD_BYTES, "taken"],
    ["does not take", MAX_UPLOAD_HELD_BYTES + 1, "waiting"],
  ] as const)("while R2 is slow %s %i bytes into memory", async (_, length, expected) => {
    const slow = Promise.withResolvers<R2UploadedPart>();
    const multipart = { uploadPart: vi.fn<() => Promise<R2UploadedPart>>(() => slow.promise) };
    const bucket = { createMultipartUpload: () => Promise.resolve(multipart) } as unknown as R2Bucket;
    const upload = new ObjectUpload(bucket, "files/slow");
    // In the pieces of the request reader, and the last byte by itself.
    let state: "waiting" | "taken" = "waiting";
    async function writeAll() {
      for (let rest = length; rest > 0; rest -= 256 * 1024) {
        await upload.write(new Uint8Array(Math.min(rest, 256 * 1024)));
      }
      state = "taken";
    }
    const writing = writeAll();
    for (let turns = 0; turns < 1000; turns += 1) await Promise.resolve();
    expect(state).toBe(expected);
    expect(multipart.uploadPart.mock.calls).toHaveLength(1);
    slow.resolve({ partNumber: 1, etag: "e" });
    await writing;
  });

  test("holds buffers of no more than 7 MiB together, the ones it grew out of included", async () => {
    const sizes: number[] = [];
    const transfer = vi.spyOn(ArrayBuffer.prototype, "transfer").mockImplementation(function grow(
      this: ArrayBuffer,
      bytes = 0,
    ) {
      sizes.push(this.byteLength + bytes);
      const grown = new ArrayBuffer(bytes);
      new Uint8Array(grown).set(new Uint8Array(this));
      return grown;
    });
    const upload = new ObjectUpload(env.BUCKET, `files/${crypto.randomUUID()}`);
    for (let pieces = 0; pieces < 60; pieces += 1) await upload.write(new Uint8Array(256 * 1024));
    await upload.finish();
    await upload.abort();
    transfer.mockRestore();
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(MAX_UPLOAD_HELD_BYTES);
  });

  test("leaves nothing when it is aborted after it was finished", async () => {
    const key = `files/${crypto.randomUUID()}`;
    const upload = new ObjectUpload(env.BUCKET, key);
    await upload.write(makeBytes(part + 1));
    await upload.finish();
    await upload.abort();
    expect(await env.BUCKET.head(key)).toBeNull();
  });
});

/** Bytes that differ from place to place. */
function makeBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index += 1) bytes[index] = (index * 31) ^ (index >>> 8);
  return bytes;
}

async function digest(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
