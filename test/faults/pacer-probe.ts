/** Looks into a pacer from outside, and runs its alarm. */
import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";

/** Also puts `pacerEnv` in front of the pacer, which has a new environment after every eviction. */
export function probePacer(name: string, pacerEnv: Env): Promise<{ readonly alarmAt: number | null }> {
  return runInDurableObject(env.PACERS.getByName(name), async (instance, { storage }) => {
    Reflect.set(instance, "env", pacerEnv);
    return { alarmAt: await storage.getAlarm() };
  });
}

/** Runs the alarm as the platform does: it is no longer set while it runs. */
export function runPacerAlarm(name: string, pacerEnv: Env): Promise<void> {
  return runInDurableObject(env.PACERS.getByName(name), async (instance, { storage }) => {
    Reflect.set(instance, "env", pacerEnv);
    await storage.deleteAlarm();
    await instance.alarm();
  });
}
