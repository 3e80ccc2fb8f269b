/**
 * Asks an upstream whether it knows a guest's key: a GET of its list of models, or of another path that the
 * settings name. It remembers nothing, and never tells what the upstream said.
 */
import type { HttpUpstream } from "../config.ts";
import { joinUrl } from "./http.ts";

/** `unavailable`: the upstream could not say. */
export type KeyVerdict = "accepted" | "refused" | "unavailable";

/** Ours: a client waits for it before its upload begins. */
export const KEY_CHECK_PATIENCE_MS = 5000;

/** Never throws. Follows no redirect, because the key would travel with it. */
export async function checkKey(upstream: HttpUpstream, path: string, key: string): Promise<KeyVerdict> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), KEY_CHECK_PATIENCE_MS);
  try {
    const response = await fetch(joinUrl(upstream.baseUrl, path), {
      headers: { authorization: `Bearer ${key}`, accept: "application/json", "user-agent": "nightshift" },
      redirect: "manual",
      signal: controller.signal,
    });
    await response.body?.cancel();
    return judge(response.status);
  } catch {
    return "unavailable";
  } finally {
    clearTimeout(timer);
  }
}

/** 404, 405 and 501: it has no such list, so its keys cannot be checked. 400 is how Google refuses a key. */
function judge(status: number): KeyVerdict {
  if (status >= 200 && status < 300) return "accepted";
  if ([404, 405, 501].includes(status)) return "accepted";
  return status >= 400 && status <= 403 ? "refused" : "unavailable";
}
