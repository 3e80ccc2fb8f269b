/** What the service keeps of files and batches, and how a test takes it away again. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { sendChecked } from "./checked-replies.ts";

/** Everything that the service keeps of files and batches, in numbers. */
export async function countTraces(): Promise<{
  readonly files: number;
  readonly batches: number;
  readonly objects: number;
}> {
  const counting = env.DB.prepare(
    "SELECT (SELECT COUNT(*) FROM files) AS files, (SELECT COUNT(*) FROM batches) AS batches",
  ).first<{ files: number; batches: number }>();
  const [rows, { objects }] = await Promise.all([counting, env.BUCKET.list()]);
  return { files: rows?.files ?? 0, batches: rows?.batches ?? 0, objects: objects.length };
}

export const NO_TRACES = { files: 0, batches: 0, objects: 0 };

/** Ends a batch by hand, and forgets it. */
export async function endBatch(id: string): Promise<void> {
  const stub = env.COORDINATORS.getByName(id);
  await stub.cancel();
  for (let alarms = 0; alarms < 3 && (await runDurableObjectAlarm(stub)); alarms += 1);
  expect(await stub.snapshot()).toBeNull();
  await env.DB.prepare("DELETE FROM batches WHERE id = ?1").bind(id).run();
}

/** Deletes a file as a client does. */
export async function deleteFile(id: unknown): Promise<void> {
  expect((await sendChecked(`/v1/files/${String(id)}`, { method: "DELETE" })).status).toBe(200);
}
