/** What becomes of a batch's input file. */
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { hideFile, removeFile } from "../../src/stores/files.ts";
import { fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import type { StillBatch } from "./still-batch.ts";

/** As the Files API does while a batch reads the file. */
export async function hideInput({ order }: StillBatch): Promise<void> {
  await hideFile(await openDatabase(env.DB), { id: order.inputFileId, tenant: order.tenant, now: new Date() });
}

/** As the Files API does while none does. */
export async function removeInput(batch: StillBatch): Promise<void> {
  await hideInput(batch);
  await removeFile(env.DB, env.BUCKET, batch.order.inputFileId);
}

export async function isInputThere({ order }: StillBatch): Promise<boolean> {
  const [object, row] = await Promise.all([
    env.BUCKET.head(fileKey(order.inputFileId)),
    env.DB.prepare("SELECT 1 FROM files WHERE id = ?1").bind(order.inputFileId).first(),
  ]);
  expect(object === null).toBe(row === null);
  return object !== null;
}
