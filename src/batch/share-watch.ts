/**
 * What a batch may have of its upstream: worked out from the rows of all batches that run there, and worked out anew when
 * another comes or goes. Each coordinator does this for itself: docs/decisions/turns.md.
 */
import { settingsOf } from "../config.ts";
import type { BatchRecord } from "../domain/batch.ts";
import type { UpstreamRoom } from "../domain/dispatching.ts";
import { limitByConsumers } from "../domain/consumers.ts";
import { findAffected, planShare, type RunningBatch, type UpstreamLoad, withBatch } from "../domain/upstream-share.ts";
import { listRunningBatches } from "../stores/batches.ts";
import type { LiveBatch } from "./live-batch.ts";

/** The most other batches that are told that a batch has come or gone; the rest see it by themselves. */
const MAX_TOLD = 16;

/** What a batch may have before it has looked: what it had, or what it would have among many. */
export function firstRoom(env: Env, record: BatchRecord, lastShareLines: number | null): UpstreamRoom {
  const room = roomAmong(env, record, []);
  return room.shareLines === 0 ? room : { ...room, shareLines: lastShareLines ?? room.shareLines };
}

export interface Seen {
  readonly running: readonly RunningBatch[];
  /** The batch has just begun or ended to run. */
  readonly isNewStatus: boolean;
  readonly now: Date;
}

export class ShareWatch {
  /** This batch, when it last looked; null before. */
  #own: RunningBatch | null = null;

  /** The batches that run on its upstream, as D1 has them. */
  list(db: D1Database, { record }: LiveBatch, now: Date): Promise<readonly RunningBatch[]> {
    return listRunningBatches(db, record.upstream, now);
  }

  /** Whether D1, or else this object when it last looked, says the same of the batch as is true now. */
  isKnown(running: readonly RunningBatch[], live: LiveBatch, now: Date): boolean {
    const own = describe(live, now);
    // D1 does not list a batch that can run nothing.
    const known = running.find(({ id }) => id === own.id) ?? this.#own;
    return known?.unsettledLines === own.unsettledLines && known.runnableLines === own.runnableLines;
  }

  /**
   * Gives the batch its room, and tells those whose share it changes.
   * @returns its share, in lines.
   */
  look(env: Env, live: LiveBatch, { running, isNewStatus, now }: Seen): number {
    const own = describe(live, now);
    const before = this.#own ?? own;
    this.#own = own;
    const hasComeOrGone = isNewStatus || (own.runnableLines === 0) !== (before.runnableLines === 0);
    const changed = own.runnableLines === 0 ? before : own;
    if (hasComeOrGone) tellOthers(env, live.record.upstream, { running, changed });
    const room = roomAmong(env, live.record, withBatch(running, own));
    live.setRoom(room);
    return room.shareLines;
  }
}

function describe(live: LiveBatch, now: Date): RunningBatch {
  const { id, counts } = live.record;
  const unsettledLines = counts.total - counts.completed - counts.failed;
  return { id, unsettledLines, runnableLines: live.runnableLines(now) };
}

/** Nobody waits for it: whoever is not told, or cannot be, sees it by itself a little later. */
function tellOthers(
  env: Env,
  upstream: string,
  { running, changed }: { readonly running: readonly RunningBatch[]; readonly changed: RunningBatch },
): void {
  const load = loadOf(env, upstream, running);
  if (load === null) return;
  for (const other of findAffected(load, changed).slice(0, MAX_TOLD)) {
    env.COORDINATORS.getByName(other)
      .shareChanged()
      .catch(() => {});
  }
}

function roomAmong(env: Env, { id, upstream }: BatchRecord, running: readonly RunningBatch[]): UpstreamRoom {
  const { linesPerInvocation } = settingsOf(env);
  const load = loadOf(env, upstream, running);
  if (load === null) return { maxInFlight: 1, shareLines: 0, linesPerInvocation };
  return { maxInFlight: load.maxInFlight, shareLines: planShare(load, id), linesPerInvocation };
}

/** Null: the upstream is gone from the settings. Somebody edits them: its batches wait until it is back. */
function loadOf(env: Env, upstream: string, running: readonly RunningBatch[]): UpstreamLoad | null {
  const { upstreams, linesPerInvocation } = settingsOf(env);
  const setting = upstreams.get(upstream)?.maxInFlight;
  if (setting === undefined) return null;
  return { maxInFlight: limitByConsumers(setting, linesPerInvocation), linesPerInvocation, running };
}
