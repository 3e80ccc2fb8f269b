import { abortAllDurableObjects, listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";

/**
 * They forget what they have learnt of their upstreams, and who their batches were. All objects leave memory: one that was
 * reached by its id alone does not know its name.
 */
export async function clearPacers(): Promise<void> {
  for (const id of await listDurableObjectIds(env.PACERS)) {
    await runInDurableObject(env.PACERS.get(id), async (_, { storage }) => {
      await storage.deleteAlarm();
      await storage.deleteAll();
    });
  }
  await abortAllDurableObjects();
}
