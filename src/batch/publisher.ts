/**
 * Keeps D1's copy of a batch fresh, and learns from the copies of others what this batch may have in flight.
 * An object leaves memory after ten seconds of rest: what it told and heard last is stored.
 */
import { settingsOf } from "../config.ts";
import type { BatchRecord, BatchStatus } from "../domain/batch.ts";
import { type RunningBatch, type UpstreamLoad, findAffected, planShare, withBatch } from "../domain/upstream-share.ts";
import { logFailure } from "../log.ts";
import { listRunningBatches, saveBatch, saveProgress } from "../stores/batches.ts";
import { openDatabase } from "../stores/schema.ts";
import type { LiveBatch, Share } from "./live-batch.ts";

/** While D1 answers, and few batches share the upstream, the copy of a running batch lags by this at most. */
const MIN_PUBLISH_EVERY_MS = 5_000;
/** The more there are, the longer each waits between two looks at the others: together they ask D1 50 times a second. */
const PUBLISH_EVERY_MS_PER_BATCH = 20;
/** Whoever is told to look again does so this soon after the last time. */
const LOOK_AGAIN_AFTER_MS = 1_000;
/** So many others are told, at most, that a batch has come or gone; the rest see it by themselves. */
const MAX_TOLD = 16;

const MEMO_KEY = "published";

interface Memo {
  /** As D1 has it; null before it has anything. */
  readonly status: BatchStatus | null;
  /** Null before the first look. */
  readonly shareLines: number | null;
}

export class Publisher {
  readonly #storage: DurableObjectStorage;
  #memo: Memo;
  /** The status that D1 was last asked to take on. */
  #triedStatus: BatchStatus | null = null;
  /** When D1 was last asked, and how long until it is again. */
  #publishedAt = 0;
  #publishEveryMs = MIN_PUBLISH_EVERY_MS;
  /** This batch, when it last looked. */
  #own: RunningBatch | null = null;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#memo = storage.kv.get<Memo>(MEMO_KEY) ?? { status: null, shareLines: null };
  }

  get nextLookAt(): number {
    return this.#publishedAt + this.#publishEveryMs;
  }

  /** Another batch has come or gone. */
  expectChange(): void {
    this.#publishEveryMs = LOOK_AGAIN_AFTER_MS;
  }

  /** What the batch may have before it has looked: what it had, or what it would have among many. */
  firstShare(env: Env, record: BatchRecord): Share {
    const share = shareAmong(env, record, []);
    return { ...share, shareLines: this.#memo.shareLines ?? share.shareLines };
  }

  /** Tells D1 of a change of status at once, of progress now and then, and looks at the others. Never throws. */
  async publish(env: Env, live: LiveBatch): Promise<void> {
    const now = new Date();
    const { record, state, isRunning } = live;
    const hasRun = this.#memo.status === "in_progress";
    const isNewStatus = record.status !== this.#memo.status;
    const isFirstTry = isNewStatus && record.status !== this.#triedStatus;
    if (state.final !== null || !(isNewStatus || hasRun) || !(isFirstTry || now.getTime() >= this.nextLookAt)) return;
    this.#triedStatus = record.status;
    this.#publishedAt = now.getTime();
    this.#publishEveryMs = MIN_PUBLISH_EVERY_MS;
    try {
      const db = await openDatabase(env.DB);
      if (isNewStatus) await saveBatch(db, record);
      let shareLines: number | null = null;
      if (isRunning || hasRun) {
        const running = await listRunningBatches(db, record.upstream, now);
        const own = describe(live, now);
        if (!isNewStatus && !this.#isKnown(running, own)) await saveProgress(db, record, own.runnableLines);
        const before = this.#own ?? own;
        this.#own = own;
        const hasComeOrGone = isNewStatus || (own.runnableLines === 0) !== (before.runnableLines === 0);
        const changed = own.runnableLines === 0 ? before : own;
        if (hasComeOrGone) tellOthers(env, record.upstream, { running, changed });
        const share = shareAmong(env, record, withBatch(running, own));
        live.setShare(share);
        shareLines = share.shareLines;
        this.#publishEveryMs = Math.max(MIN_PUBLISH_EVERY_MS, running.length * PUBLISH_EVERY_MS_PER_BATCH);
      }
      this.#remember({ status: record.status, shareLines });
    } catch (error) {
      // A copy that is late stops no line: it is written the next time.
      logFailure("batch_not_published", { batch: record.id }, error);
    }
  }

  /** What D1 lists of this batch; what it does not list, because nothing could run, as this object told it last. */
  #isKnown(running: readonly RunningBatch[], own: RunningBatch): boolean {
    const known = running.find(({ id }) => id === own.id) ?? this.#own;
    return known?.unsettledLines === own.unsettledLines && known.runnableLines === own.runnableLines;
  }

  #remember(memo: Memo): void {
    if (memo.status === this.#memo.status && memo.shareLines === this.#memo.shareLines) return;
    this.#memo = memo;
    this.#storage.kv.put(MEMO_KEY, memo);
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

function shareAmong(env: Env, { id, upstream }: BatchRecord, running: readonly RunningBatch[]): Share {
  const { linesPerInvocation } = settingsOf(env);
  const load = loadOf(env, upstream, running);
  if (load === null) return { maxInFlight: 1, shareLines: 1, linesPerInvocation };
  return { maxInFlight: load.maxInFlight, shareLines: planShare(load, id), linesPerInvocation };
}

/** Null: the upstream is gone from the settings. Its batches do not share it, each fails slowly by itself. */
function loadOf(env: Env, upstream: string, running: readonly RunningBatch[]): UpstreamLoad | null {
  const { upstreams, linesPerInvocation } = settingsOf(env);
  const maxInFlight = upstreams.get(upstream)?.maxInFlight;
  return maxInFlight === undefined ? null : { maxInFlight, linesPerInvocation, running };
}
