/**
 * A coordinator's half of the conversation with its upstream's pacer (src/domain/grant.ts): when to say something, what it
 * was answered, and what holds while there is no answer.
 */
import { doublingPause } from "../domain/backoff.ts";
import { type AnswersHeard, countTrouble, joinHeard, NOTHING_HEARD, unhear } from "../domain/breaker.ts";
import type { ConsumerLimits, UpstreamRoom } from "../domain/dispatching.ts";
import type { Report } from "../domain/conversation.ts";
import type { BatchLoad, BudgetLoad, Grant, Statement } from "../domain/grant.ts";
import { fadeGrant, unaskedStarts } from "../domain/last-grant.ts";
import { isScarce } from "../domain/rate-limit.ts";
import { joinSpending, NOTHING_SPENT, type Spending, unspend } from "../domain/spending.ts";
import { estimateTokens, NO_TOKENS_SEEN, seeTokens, type TokensSeen } from "../domain/token-estimate.ts";
import { logFailure } from "../log.ts";
import type { LiveBatch } from "./live-batch.ts";

/** News is told at most this often, but for what others wait for. */
const TELLS_EVERY_MS = 1_000;
/** A batch without dispatches says this seldom that it is still there. */
const IDLE_TELLS_EVERY_MS = 30_000;
/** An object that is awake for its dispatches tells with that. */
const AWAKE_TELLS_EVERY_MS = 8_000;
const MIN_REST_MS = 1_000;
const MAX_REST_MS = 30_000;

export class PacerLink {
  /** Null: none was heard since the object was loaded. */
  #grant: Grant | null = null;
  /** Lines that may have been in flight when the object was loaded: all that is the batch's before the first grant. */
  readonly #firstLines: number;
  /** What the pacer knows; null: nothing. */
  #told: BatchLoad | null = null;
  #heard: AnswersHeard = NOTHING_HEARD;
  #spent: Spending = NOTHING_SPENT;
  /** What the batch's answers have cost so far. */
  #tokens: TokensSeen = NO_TOKENS_SEEN;
  /** As last told. */
  #tokensPerLine = 1;
  /** Tries that had been begun when this life of the pacer was first heard. */
  #begunBefore = 0;
  /** Of the latest statement. Taken from the clock, so that a restarted object goes on above it. */
  #number = 0;
  /** In ms: when it was last told something, be it that it did not arrive. */
  #triedAt = 0;
  /** In ms: of the first attempt that failed since the last that did not; null: the last did not. */
  #unreachedSince: number | null = null;
  #failures = 0;
  /** Under way. */
  #telling: Promise<void> | null = null;

  readonly #consumers: ConsumerLimits;
  /** By its settings the upstream has budgets: without a grant nothing may begin. */
  readonly #isBudgeted: boolean;

  constructor(firstLines: number, { isBudgeted, ...consumers }: ConsumerLimits & { readonly isBudgeted: boolean }) {
    this.#firstLines = firstLines;
    this.#consumers = consumers;
    this.#isBudgeted = isBudgeted;
  }

  roomAt(now: Date): UpstreamRoom {
    const known = this.#grant ?? { lines: this.#firstLines, pause: null, servedAt: null, isRoomWanted: false };
    const unreachedMs = this.#unreachedSince === null ? 0 : now.getTime() - this.#unreachedSince;
    const { lines, pause } = fadeGrant(known, unreachedMs);
    // What the last probe was answered is not told yet: there is no second one before.
    const isProbed = pause !== null && hasAnswers(this.#heard);
    const { servedAt, isRoomWanted } = known;
    const allowed = this.#grant === null && this.#isBudgeted ? 0 : (this.#grant?.mayHaveBegun ?? null);
    const mayHaveBegun = allowed === null ? null : this.#begunBefore + allowed + unaskedStarts(unreachedMs);
    return { ...this.#consumers, lines: isProbed ? 0 : lines, pause, servedAt, isRoomWanted, mayHaveBegun };
  }

  /** Answers that a consumer has reported. */
  note({ heard, spent }: Pick<Report, "heard" | "spent">): void {
    this.#heard = joinHeard(this.#heard, heard);
    this.#spent = joinSpending(this.#spent, spent);
    // The pacer knows of tries that it allowed.
    if (this.#isLimited) this.#spent = { ...this.#spent, tries: 0 };
    this.#tokens = seeTokens(this.#tokens, { answers: spent.answersWithUsage, tokens: spent.tokens });
  }

  /** Something is to be said now. */
  isDue(live: LiveBatch, now: Date): boolean {
    if (this.#telling !== null || !this.#concerns(live)) return false;
    return now.getTime() >= this.#dueAt(live, now);
  }

  /** When the next statement is due although nothing happens, in ms; null: none will be. */
  nextAt(live: LiveBatch, now: Date): number | null {
    if (!this.#concerns(live)) return null;
    const load = live.loadAt(now);
    const hasDispatches = live.dispatches.size > 0;
    const told = this.#told;
    if (this.#failures > 0 || told === null) return this.#dueAt(live, now);
    // Reports of dispatches will bring it sooner, where nobody waits.
    const isWaitedFor = !hasDispatches || this.#grant?.isRoomWanted === true;
    const isNews = isWaitedFor && this.#changesRoom(load, told);
    if (isNews || this.#wantsStarts(live, now)) return this.#dueAt(live, now);
    const least = hasDispatches ? AWAKE_TELLS_EVERY_MS : IDLE_TELLS_EVERY_MS;
    return this.#triedAt + Math.max(least, this.#grant?.tellEveryMs ?? 0);
  }

  /**
   * What the pacer says is worth waiting for before more is sent: of an object that was just loaded, which knows nothing, and
   * of answers of which none is fine. Never throws.
   */
  async hearFirst(env: Env, live: LiveBatch): Promise<void> {
    if (this.#grant === null && this.isDue(live, new Date())) await this.tell(env, live);
    // What is being said may not be all.
    if (this.#isUrgent) await this.#telling;
    if (this.#isUrgent && (this.#telling !== null || this.isDue(live, new Date()))) await this.tell(env, live);
  }

  /** Says what there is to say, or waits until what is being said is answered. Never throws. */
  tell(env: Env, live: LiveBatch): Promise<void> {
    this.#telling ??= this.#tell(env, live).finally(() => {
      this.#telling = null;
    });
    return this.#telling;
  }

  async #tell(env: Env, live: LiveBatch): Promise<void> {
    const now = new Date();
    const statement = this.describe(live, now);
    this.#triedAt = now.getTime();
    try {
      const grant = await env.PACERS.getByName(live.pacerName).tell(statement);
      this.#failures = 0;
      this.#unreachedSince = null;
      this.noteTold(statement);
      this.take(grant, live.startsAt(now).begun);
    } catch (error) {
      this.#unreachedSince ??= now.getTime();
      this.#failures += 1;
      logFailure("pacer_not_reached", { batch: statement.batchId, failures: this.#failures }, error);
    }
  }

  /** From now on the batch has no more than it can use now: others may have the rest. */
  describe(live: LiveBatch, now: Date): Statement {
    const load = live.loadAt(now);
    // Before the first grant it goes by what it had: that is nobody else's, used or not.
    const heldLines = this.#grant === null ? this.#firstLines : load.heldLines;
    if (this.#grant !== null) {
      this.#grant = { ...this.#grant, lines: Math.min(this.#grant.lines, load.runnableLines) };
      live.setRoom(this.roomAt(now));
    }
    this.#number = Math.max(this.#number + 1, now.getTime());
    // Answers that are being told would count twice.
    const heard = this.#telling === null ? this.#heard : NOTHING_HEARD;
    const budget = this.#describeBudget(live, now);
    const { id: batchId } = live.record;
    return { batchId, number: this.#number, ...load, heldLines, grant: numberOf(this.#grant), heard, budget };
  }

  #describeBudget(live: LiveBatch, now: Date): BudgetLoad {
    const { begun, wantedStarts, meanLineBytes } = live.startsAt(now);
    const {
      tries: freeTries,
      answersWithUsage,
      tokens,
      rateLimit,
    } = this.#telling === null ? this.#spent : NOTHING_SPENT;
    const tokensPerLine = estimateTokens(this.#tokens, { lineBytes: meanLineBytes, meanLineBytes });
    this.#tokensPerLine = tokensPerLine;
    return {
      begun: begun - this.#begunBefore,
      freeTries,
      wantedStarts,
      tokensPerLine,
      answersWithUsage,
      tokens,
      rateLimit,
    };
  }

  /** The pacer has, or is about to have, the statement. */
  noteTold({ heard, budget, unsettledLines, runnableLines, heldLines, isOver }: Statement): void {
    this.#heard = unhear(this.#heard, heard);
    this.#spent = unspend(this.#spent, { ...budget, tries: budget.freeTries });
    this.#told = { unsettledLines, runnableLines, heldLines, isOver };
  }

  /** One that is older than what is known is none. One that comes again does not bring back what the batch gave up. */
  take(grant: Grant, begun: number): void {
    const known = this.#grant;
    if (known?.life !== grant.life) this.#begunBefore = begun;
    if (known !== null && known.life === grant.life && known.number > grant.number) return;
    const isKnown = known?.life === grant.life && known.number === grant.number;
    this.#grant = isKnown ? { ...grant, lines: Math.min(known.lines, grant.lines) } : grant;
  }

  /** It runs, or its pacer still thinks so. */
  #concerns(live: LiveBatch): boolean {
    return live.isRunning || (this.#told !== null && !this.#told.isOver);
  }

  get #isLimited(): boolean {
    return this.#grant === null ? this.#isBudgeted : this.#grant.mayHaveBegun !== null;
  }

  /** None of the answers is fine, or the upstream says that it takes little more, of which the pacer does not know yet. */
  get #isUrgent(): boolean {
    const { rateLimit } = this.#spent;
    const { mayHaveBegun, lines } = this.#grant ?? { mayHaveBegun: null, lines: 0 };
    if (this.#heard.fine === 0 && countTrouble(this.#heard) > 0) return true;
    return mayHaveBegun === null && rateLimit !== null && isScarce(rateLimit, lines, this.#tokensPerLine);
  }

  /** In ms. */
  #dueAt(live: LiveBatch, now: Date): number {
    if (this.#failures > 0) return this.#triedAt + doublingPause(MIN_REST_MS, MAX_REST_MS, this.#failures - 1);
    const told = this.#told;
    if (told === null) return now.getTime();
    const load = live.loadAt(now);
    const hasBegunOrEnded = load.isOver !== told.isOver || (load.runnableLines === 0) !== (told.runnableLines === 0);
    const isProbed = this.#grant?.pause !== null && hasAnswers(this.#heard);
    if (hasBegunOrEnded || isProbed || this.#isUrgent) return now.getTime();
    const isNews = countTrouble(this.#heard) > 0 || this.#changesRoom(load, told) || this.#wantsStarts(live, now);
    return this.#triedAt + (isNews ? TELLS_EVERY_MS : (this.#grant?.tellEveryMs ?? TELLS_EVERY_MS));
  }

  /** In a pause only the one that probes does. */
  #wantsStarts(live: LiveBatch, now: Date): boolean {
    const { lines, pause, mayHaveBegun } = this.#grant ?? { lines: 0, pause: null, mayHaveBegun: null };
    if (mayHaveBegun === null || (pause !== null && lines === 0)) return false;
    return live.startsAt(now).wantedStarts > 0;
  }

  /** Others may have what the batch does not hold, or cannot use, any more; or it could use more of what it has. */
  #changesRoom(load: BatchLoad, told: BatchLoad): boolean {
    const lines = this.#grant?.lines ?? 0;
    const isReleased = told.heldLines > lines && load.heldLines < told.heldLines;
    const couldUseMore = told.runnableLines <= lines && load.runnableLines > told.runnableLines;
    // Consumers with idle slots are sent to whoever has lines that nobody runs.
    const isUnserved = load.heldLines < Math.min(lines, load.runnableLines, told.heldLines);
    return (
      isReleased ||
      couldUseMore ||
      isUnserved ||
      (load.runnableLines < lines && load.runnableLines < told.runnableLines)
    );
  }
}

function numberOf(grant: Grant | null): Statement["grant"] {
  if (grant === null) return null;
  const { life, number, lines } = grant;
  return { life, number, lines };
}

function hasAnswers(heard: AnswersHeard): boolean {
  return heard.fine + countTrouble(heard) > 0;
}
