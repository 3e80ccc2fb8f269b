/** Whether this deployment can do its work: its stores answer in time. */
import { probeStores } from "../stores/probe.ts";

const PATIENCE_MS = 5000;

export async function isHealthy(env: Env): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeIsUp = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), PATIENCE_MS);
  });
  const probed = probeStores(env.DB, env.BUCKET).then(
    () => true,
    () => false,
  );
  const healthy = await Promise.race([probed, timeIsUp]);
  clearTimeout(timer);
  return healthy;
}
