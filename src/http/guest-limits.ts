/** What a guest may have at once: bytes and live batches. Only guests are counted, so only they pay for counting. */
import type { Settings } from "../config.ts";
import { countLiveBatches, MIN_COUNTED_BYTES, sumStoredBytes } from "../stores/guest-use.ts";
import { type ApiError, tooMany } from "./api-error.ts";
import type { Caller } from "./caller.ts";

export interface GuestUse {
  readonly caller: Caller;
  readonly settings: Settings;
  readonly db: D1Database;
}

export interface StorageQuota {
  readonly mostBytes: number;
  /** At the time it was asked: other uploads may take of it too. */
  readonly leftBytes: number;
}

/**
 * @returns null for a caller without a limit.
 * @throws ApiError 429 when nothing is left.
 */
export async function findStorageQuota({ caller, settings, db }: GuestUse): Promise<StorageQuota | null> {
  if (caller.guestKey === null) return null;
  const mostBytes = settings.guestMaxStoredBytes;
  const leftBytes = mostBytes - (await sumStoredBytes(db, caller.tenant));
  if (leftBytes < MIN_COUNTED_BYTES) throw overStorage(mostBytes);
  return { mostBytes, leftBytes };
}

export function overStorage(mostBytes: number): ApiError {
  const message = `Your files would have more than ${mostBytes} bytes together, which is the most you may store here. Please delete some.`;
  return tooMany("insufficient_quota", message);
}

/** @throws ApiError 429 when another batch would be one too many. */
export async function checkLiveBatches({ caller, settings, db }: GuestUse, upstream: string): Promise<void> {
  if (caller.guestKey === null) return;
  const most = settings.guestMaxLiveBatches;
  if ((await countLiveBatches(db, { tenant: caller.tenant, upstream, most })) < most) return;
  throw tooMany(
    "rate_limit_exceeded",
    `You may have at most ${most} batches at once. Please wait until one has ended.`,
  );
}
