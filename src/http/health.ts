/**
 * Whether this deployment can do its work. Everybody is told whether it runs and its settings can be read,
 * which costs nothing. The holder of its key is told more: whether D1, R2 and its queues answer in time. A
 * queue is asked for its metrics, which sends nothing and reaches the queue itself. Upstreams are not asked:
 * their trouble is no reason to take this service out.
 */
import { type Settings, settingsOf } from "../config.ts";
import { logEvent, logFailure } from "../log.ts";
import { probeBucket, probeDatabase } from "../stores/probe.ts";
import { isAdmin } from "./auth.ts";

type Check = "ok" | "failed" | "timeout";

export interface Health {
  readonly status: "ok" | "unavailable" | "misconfigured";
  /** Only for the holder of the deployment's key. */
  readonly checks?: Readonly<Record<"d1" | "r2" | "queue", Check>>;
}

const PATIENCE_MS = 3000;

/** Never throws, and takes no longer than its patience. */
export async function checkHealth(headers: Headers, env: Env): Promise<Health> {
  const settings = readSettings(env);
  if (settings === null) return { status: "misconfigured" };
  return (await isAdmin(headers, settings)) ? checkStores(env, settings) : { status: "ok" };
}

function readSettings(env: Env): Settings | null {
  try {
    return settingsOf(env);
  } catch (error) {
    logFailure("misconfigured", {}, error);
    return null;
  }
}

async function checkStores(env: Env, { dispatchQueues }: Settings): Promise<Health> {
  const [d1, r2, queue] = await Promise.all([
    check(() => probeDatabase(env.DB)),
    check(() => probeBucket(env.BUCKET)),
    check(() => Promise.all([...dispatchQueues, env.DEAD_LETTERS].map((one) => one.metrics()))),
  ]);
  const checks = { d1, r2, queue };
  const status = Object.values(checks).every((result) => result === "ok") ? "ok" : "unavailable";
  if (status !== "ok") logEvent("unhealthy", checks);
  return { status, checks };
}

async function check(probe: () => Promise<unknown>): Promise<Check> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeIsUp = new Promise<Check>((resolve) => {
    timer = setTimeout(() => resolve("timeout"), PATIENCE_MS);
  });
  const probed = attempt(probe);
  const result = await Promise.race([probed, timeIsUp]);
  clearTimeout(timer);
  return result;
}

/** A binding that is missing throws at once. */
async function attempt(probe: () => Promise<unknown>): Promise<Check> {
  try {
    await probe();
    return "ok";
  } catch {
    return "failed";
  }
}
