import { env } from "cloudflare:workers";
import { expect, test, vi } from "vitest";
import type { ClaimedSlice } from "../../src/domain/slices.ts";
import { readInputLines } from "../../src/stores/input-lines.ts";
import { fileKey } from "../../src/stores/object-keys.ts";

/** Nine lines `0` to `8`, two bytes each; the last one without a line break. */
const TEXT = "0\n1\n2\n3\n4\n5\n6\n7\n8";

function sliceOf(index: number, firstLine: number, lines: readonly number[]): ClaimedSlice {
  const claimed = lines.map((line) => ({ line, attempts: line }));
  return { index, firstLine, lineCount: 3, byteStart: 2 * firstLine, byteLength: 6, lines: claimed };
}

async function storeInput(): Promise<string> {
  const fileId = `file-${crypto.randomUUID()}`;
  await env.BUCKET.put(fileKey(fileId), TEXT);
  return fileId;
}

test("reads the claimed lines of slices, with their numbers and tries", async () => {
  const slices = [sliceOf(0, 0, [0, 2]), { ...sliceOf(2, 6, [8]), byteLength: 5 }];
  expect(await readInputLines(env.BUCKET, await storeInput(), slices)).toEqual([
    { line: 0, attempts: 0, sliceIndex: 0, text: "0" },
    { line: 2, attempts: 2, sliceIndex: 0, text: "2" },
    { line: 8, attempts: 8, sliceIndex: 2, text: "8" },
  ]);
});

test("reads neighbours at once, and those apart by themselves", async () => {
  const fileId = await storeInput();
  const get = vi.spyOn(env.BUCKET, "get");
  await readInputLines(env.BUCKET, fileId, [sliceOf(0, 0, [0]), sliceOf(1, 3, [3])]);
  expect(get).toHaveBeenCalledTimes(1);
  await readInputLines(env.BUCKET, fileId, [sliceOf(0, 0, [0]), { ...sliceOf(2, 6, [6]), byteLength: 5 }]);
  expect(get).toHaveBeenCalledTimes(3);
  get.mockRestore();
});

test("says so when the bytes are gone", async () => {
  expect(await readInputLines(env.BUCKET, "file-gone", [sliceOf(0, 0, [0])])).toBeNull();
});

test("throws when R2 gives fewer bytes than were asked for", async () => {
  const fileId = await storeInput();
  const slices = [{ ...sliceOf(2, 6, [8]), byteLength: 6 }];
  await expect(readInputLines(env.BUCKET, fileId, slices)).rejects.toThrow("R2 gave 5 of 6 bytes");
  expect(await readInputLines(env.BUCKET, fileId, [{ ...sliceOf(2, 6, [8]), byteLength: 5 }])).toHaveLength(1);
});
