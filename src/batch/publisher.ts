/**
 * Keeps D1's copy of a batch fresh, and learns from the copies of others what this batch may have in flight.
 * An object leaves memory after ten seconds of rest: what it told and heard last is stored.
 */
import { settingsOf } from "../config.ts";
import type { BatchRecord, BatchStatus } from "../domain/batch.ts";
import { type Contender, type Contest, findAffected, planShare, withContender } from "../domain/share.ts";
import { logFailure } from "../log.ts";
import { listContenders, saveBatch, saveProgress } from "../stores/batches.ts";
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
  readonly windowCap: number | null;
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
  #own: Contender | null = null;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#memo = storage.kv.get<Memo>(MEMO_KEY) ?? { status: null, windowCap: null };
  }

  get nextLookAt(): number {
    return this.#publishedAt + this.#publishEveryMs;
  }

  /** Another batch has come or gone. */
  lookSoon(): void {
    this.#publishEveryMs = LOOK_AGAIN_AFTER_MS;
  }

  /** What the batch may have before it has looked: what it had, or what it would have among many. */
  firstShare(env: Env, record: BatchRecord): Share {
    const share = shareAmong(env, record, []);
    return { ...share, windowCap: this.#memo.windowCap ?? share.windowCap };
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
      let windowCap: number | null = null;
      if (isRunning || hasRun) {
        const contenders = await listContenders(db, record.upstream, now);
        const own = describe(live, now);
        if (!isNewStatus && !this.#isKnown(contenders, own)) await saveProgress(db, record, own.runnableLines);
        const before = this.#own ?? own;
        this.#own = own;
        const hasComeOrGone = isNewStatus || (own.runnableLines === 0) !== (before.runnableLines === 0);
        const mover = own.runnableLines === 0 ? before : own;
        if (hasComeOrGone) tellOthers(env, record.upstream, { contenders, mover });
        const share = shareAmong(env, record, withContender(contenders, own));
        live.setShare(share);
        windowCap = share.windowCap;
        this.#publishEveryMs = Math.max(MIN_PUBLISH_EVERY_MS, contenders.length * PUBLISH_EVERY_MS_PER_BATCH);
      }
      this.#remember({ status: record.status, windowCap });
    } catch (error) {
      // A copy that is late stops no line: it is written the next time.
      logFailure("batch_not_published", { batch: record.id }, error);
    }
  }

  /** What D1 lists of this batch; what it does not list, because nothing could run, as this object told it last. */
  #isKnown(contenders: readonly Contender[], own: Contender): boolean {
    const known = contenders.find(({ id }) => id === own.id) ?? this.#own;
    return known?.unsettledLines === own.unsettledLines && known.runnableLines === own.runnableLines;
  }

  #remember(memo: Memo): void {
    if (memo.status === this.#memo.status && memo.windowCap === this.#memo.windowCap) return;
    this.#memo = memo;
    this.#storage.kv.put(MEMO_KEY, memo);
  }
}

function describe(live: LiveBatch, now: Date): Contender {
  const { id, counts } = live.record;
  const unsettledLines = counts.total - counts.completed - counts.failed;
  return { id, unsettledLines, runnableLines: live.runnableLines(now) };
}

/** Nobody waits for it: whoever is not told, or cannot be, sees it by itself a little later. */
function tellOthers(
  env: Env,
  upstream: string,
  { contenders, mover }: { readonly contenders: readonly Contender[]; readonly mover: Contender },
): void {
  const contest = contestFor(env, upstream, contenders);
  if (contest === null) return;
  for (const other of findAffected(contest, mover).slice(0, MAX_TOLD)) {
    env.COORDINATORS.getByName(other)
      .lookAgain()
      .catch(() => {});
  }
}

function shareAmong(env: Env, { id, upstream }: BatchRecord, contenders: readonly Contender[]): Share {
  const { linesPerInvocation } = settingsOf(env);
  const contest = contestFor(env, upstream, contenders);
  if (contest === null) return { maxInFlight: 1, windowCap: 1, linesPerInvocation };
  return { maxInFlight: contest.maxInFlight, windowCap: planShare(contest, id), linesPerInvocation };
}

/** Null: the upstream is gone from the settings. Its batches do not share it, each fails slowly by itself. */
function contestFor(env: Env, upstream: string, contenders: readonly Contender[]): Contest | null {
  const { upstreams, linesPerInvocation } = settingsOf(env);
  const maxInFlight = upstreams.get(upstream)?.maxInFlight;
  return maxInFlight === undefined ? null : { maxInFlight, linesPerInvocation, contenders };
}
