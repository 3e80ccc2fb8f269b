/** What becomes of a batch's input file. */
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { hideFile, removeFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import type { HeldBatch } from "../support/held-batch.ts";

/** As the Files API does while a batch reads the file. */
export async function hideInput({ record }: HeldBatch): Promise<void> {
  await hideFile(await openDatabase(env.DB), { id: record.inputFileId, tenant: record.tenant, now: new Date() });
}

/** As the Files API does while none does. */
export async function removeInput(batch: HeldBatch): Promise<void> {
  await hideInput(batch);
  await removeFile(env.DB, env.BUCKET, batch.record.inputFileId);
}

export async function isInputThere({ record }: HeldBatch): Promise<boolean> {
  const [object, row] = await Promise.all([
    env.BUCKET.head(fileKey(record.inputFileId)),
    env.DB.prepare("SELECT 1 FROM files WHERE id = ?1").bind(record.inputFileId).first(),
  ]);
  expect(object === null).toBe(row === null);
  return object !== null;
}
