/**
 * What all batches of one upstream may have in flight: the in-flight limit, the breaker, who runs, and each one's share.
 * Pure: what has to survive a restart is the caller's to store, and the caller tells what changes here.
 *
 * Together batches never have more than the limit. A share that grows is granted only from what nobody may still believe
 * to have (grants-out.ts), so whoever comes waits until others have said that they make room.
 */
import { isProbeDue, type Pause } from "./breaker.ts";
import { Budgeting } from "./budgeting.ts";
import type { Grant, Statement } from "./grant.ts";
import { type Member, newMember, usableLines } from "./member.ts";
import { Prober } from "./prober.ts";
import { MAX_RETRY_AFTER_SECONDS } from "./retry-policy.ts";
import type { RateBudget } from "./rate-budget.ts";
import { makeLarger, makeSmaller } from "./share-out.ts";
import { type BearingMemory, type PacedUpstream, UpstreamBearing } from "./upstream-bearing.ts";
import { planShares, type RunningBatch } from "./upstream-share.ts";

/** What is stored, so that a restart does not begin anew. */
export interface PacingMemory extends BearingMemory {
  readonly budget: RateBudget;
}

/** Members of an earlier life that say nothing for this time do not keep others from growing. */
const RECOVERS_FOR_MS = 30_000;
/** How often a coordinator says that nothing has changed: alone, and when answers matter. */
const QUIET_TELL_MS = 8_000;
const BUSY_TELL_MS = 1_000;
/** All together say something at most 200 times a second. */
const TELL_MS_PER_MEMBER = 5;

export class Pacing {
  readonly #life: string;
  #upstream: PacedUpstream;
  readonly #members = new Map<string, Member>();
  /** What the upstream bears. */
  readonly #bearing: UpstreamBearing;
  readonly #budgeting: Budgeting;
  /** Of the latest grant. */
  #number = 0;
  readonly #prober = new Prober();
  /** In ms. */
  readonly #recoversUntil: number;
  /** A batch goes by a grant of an earlier life, of which nothing is stored: there may be others. */
  #isAnybodyUnknown = false;

  /** @param known ids of batches that an earlier life knew. */
  constructor(
    life: { readonly id: string; readonly startedAt: Date },
    upstream: PacedUpstream,
    known: { readonly memory: PacingMemory | null; readonly batchIds: readonly string[] },
  ) {
    this.#life = life.id;
    this.#upstream = upstream;
    this.#bearing = new UpstreamBearing(upstream.maxInFlight, known.memory);
    this.#budgeting = new Budgeting(upstream.limits, known.memory?.budget ?? null, life.startedAt);
    this.#recoversUntil = life.startedAt.getTime() + RECOVERS_FOR_MS;
    for (const id of known.batchIds) this.#members.set(id, newMember({ life: life.id, number: 0 }, life.startedAt));
  }

  /** Somebody may edit the settings. */
  setUpstream(upstream: PacedUpstream): void {
    this.#upstream = upstream;
  }

  get memory(): PacingMemory {
    return { ...this.#bearing.memory, budget: this.#budgeting.memory };
  }

  get pause(): Pause | null {
    return this.#bearing.pause;
  }

  get size(): number {
    return this.#members.size;
  }

  has(batchId: string): boolean {
    return this.#members.has(batchId);
  }

  /** Members that have said nothing since then. */
  findSilent(since: Date): readonly string[] {
    return [...this.#members].filter(([, { heardAt }]) => heardAt < since.getTime()).map(([id]) => id);
  }

  /** Members of an earlier life that have said nothing to this one, as far as they can be reached. */
  findUnheard(): readonly string[] {
    return [...this.#members]
      .filter(([, { said, isUnreachable }]) => said === null && !isUnreachable)
      .map(([id]) => id);
  }

  hear(statement: Statement, now: Date): void {
    const { batchId, unsettledLines, runnableLines, isOver } = statement;
    this.#bearing.observe(statement.heard, { upstream: this.#upstream, wantedLines: this.#wantedLines(), now });
    const { retryAfterSeconds } = statement.heard;
    if (isOver) return this.drop(batchId);
    if (this.pause === null && retryAfterSeconds !== null && statement.heard.fine === 0) {
      this.#budgeting.hold(new Date(now.getTime() + Math.min(retryAfterSeconds, MAX_RETRY_AFTER_SECONDS) * 1000));
    }
    const isForeign = statement.grant !== null && statement.grant.life !== this.#life;
    if (isForeign && !this.#members.has(batchId)) this.#isAnybodyUnknown = true;
    const member = this.#join(batchId, now);
    member.heardAt = now.getTime();
    member.isUnreachable = false;
    if (statement.number <= member.saidNumber) return;
    member.saidNumber = statement.number;
    member.said = { id: batchId, unsettledLines, runnableLines };
    member.out.hear(statement);
    const { limits } = this.#upstream;
    this.#budgeting.hear(batchId, statement.budget, { isNew: statement.grant?.life !== this.#life, limits, now });
    member.unserved.hear(statement.heldLines);
    member.unserved.sinceAt(usableLines(member), now);
  }

  /**
   * A batch that may have more lines in flight than it has, for a consumer with idle slots: the one that has waited longest.
   * The slots count as used there for a moment, so that consumers which ask at once are not all sent to the same batch.
   * Null: there is none, or nothing is to be sent but what probes.
   * @param slots that are idle.
   */
  findWork(slots: number, now: Date): string | null {
    if (this.pause !== null) return null;
    let found: { readonly id: string; readonly member: Member; readonly since: number } | null = null;
    for (const [id, member] of this.#members) {
      const since = member.isUnreachable ? null : member.unserved.sinceAt(usableLines(member), now);
      if (since !== null && since < (found?.since ?? Infinity)) found = { id, member, since };
    }
    found?.member.unserved.send(slots, now);
    return found?.id ?? null;
  }

  /** It is over, or nobody knows it any more. */
  drop(batchId: string): void {
    this.#members.delete(batchId);
    this.#budgeting.forget(batchId);
  }

  /** It is told nothing more before it says something, and does not probe. */
  noteUnreachable(batchId: string): void {
    const member = this.#members.get(batchId);
    if (member !== undefined) member.isUnreachable = true;
  }

  /** What the batch may have from now on. */
  grantTo(batchId: string, now: Date): Grant {
    this.#share(now, batchId);
    return this.#handOver(batchId, now);
  }

  /**
   * Grants that cannot wait for a batch's next statement: its turn has come or is over, or its share has changed by much.
   * They are to be told.
   * @param isBusy whether the batch is being told something.
   * @param most no more than so many.
   */
  takeUrgent(
    now: Date,
    isBusy: (batchId: string) => boolean,
    most: number,
  ): readonly (readonly [batchId: string, grant: Grant])[] {
    if (most <= 0) return [];
    this.#share(now, null);
    const untold = [...this.#members].filter(
      ([id, { out, toldNumber, isUnreachable }]) => out.number > toldNumber && !isUnreachable && !isBusy(id),
    );
    return untold.slice(0, most).map(([id]) => [id, this.#handOver(id, now)]);
  }

  /** When something is due by itself, in ms: a probe, or the end of the wait for members of an earlier life. Null: nothing. */
  nextDueAt(now: Date): number | null {
    if (this.#isRecovering(now)) return this.#recoversUntil;
    if (this.pause === null || isProbeDue(this.pause, now)) return null;
    return this.#wantedLines() > 0 ? this.pause.probeAt : null;
  }

  #wantedLines(): number {
    return [...this.#members.values()].reduce((sum, { said }) => sum + (said?.runnableLines ?? 0), 0);
  }

  /** The oldest first, as their ids have it. */
  #running(): readonly RunningBatch[] {
    return [...this.#members.values()]
      .flatMap(({ said }) => (said === null ? [] : [said]))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /**
   * Brings grants to the shares of now. Smaller ones at once where others wait for the room, larger ones as far as there is
   * room; where little changes, only for those that hear of it.
   */
  #share(now: Date, hearer: string | null): void {
    const isPaused = this.pause !== null;
    const isOver = this.#reservedLines > this.#limitLines();
    const shares = this.#planShares(now);
    makeSmaller(this.#members, shares, { isPaused, isOver, hearer, nextNumber: this.#nextNumber });
    makeLarger(this.#members, shares, { room: this.#freeLines(now), hearer, nextNumber: this.#nextNumber });
  }

  /** Lines that nobody has, nor may believe to have. In a pause the one that probes, whatever was in flight before. */
  #freeLines(now: Date): number {
    if (this.#isRecovering(now)) return 0;
    if (this.pause !== null) return this.#limitLines();
    return Math.max(0, this.#limitLines() - this.#reservedLines);
  }

  get #reservedLines(): number {
    return [...this.#members.values()].reduce((sum, { out }) => sum + out.reservedLines, 0);
  }

  #planShares(now: Date): ReadonlyMap<string, number> {
    const { linesPerInvocation } = this.#upstream;
    const running = this.#running();
    if (this.pause === null) return planShares({ lines: this.#limitLines(), linesPerInvocation, running });
    if (!isProbeDue(this.pause, now)) return new Map();
    const able = running.filter(({ id }) => this.#members.get(id)?.isUnreachable === false);
    const prober = this.#prober.next(able, (id) => (this.#members.get(id)?.out.lines ?? 0) > 0);
    return new Map(prober === null ? [] : [[prober, 1]]);
  }

  #limitLines(): number {
    return this.#bearing.allowedLines(this.#upstream);
  }

  #isRecovering(now: Date): boolean {
    if (now.getTime() >= this.#recoversUntil) return false;
    return this.#isAnybodyUnknown || [...this.#members.values()].some(({ said }) => said === null);
  }

  readonly #nextNumber = () => {
    this.#number += 1;
    return this.#number;
  };

  #handOver(batchId: string, now: Date): Grant {
    const member = this.#members.get(batchId);
    const { pause } = this;
    const lines = member?.out.lines ?? 0;
    const context = { limits: this.#upstream.limits, linesInFlight: this.#limitLines(), now };
    // In a pause the one that probes needs a try.
    if (pause === null || lines > 0) this.#budgeting.allow(batchId, context);
    if (member !== undefined) {
      member.toldNumber = member.out.number;
      member.unserved.sinceAt(usableLines(member), now);
    }
    return {
      life: this.#life,
      number: member?.out.number ?? this.#number,
      lines,
      pause,
      servedAt: this.#bearing.servedAt,
      mayHaveBegun: this.#budgeting.allowedTo(batchId, context),
      isRoomWanted: this.#isShared,
      tellEveryMs: this.#tellEveryMs(),
    };
  }

  /** There are not enough lines for all. */
  get #isShared(): boolean {
    return this.size > 1 && this.#wantedLines() > this.#limitLines();
  }

  #tellEveryMs(): number {
    const isLimited = this.pause !== null || this.#limitLines() < this.#upstream.maxInFlight;
    return Math.max(isLimited || this.#isShared ? BUSY_TELL_MS : QUIET_TELL_MS, this.size * TELL_MS_PER_MEMBER);
  }

  #join(batchId: string, now: Date): Member {
    const known = this.#members.get(batchId);
    if (known !== undefined) return known;
    if (this.size === 0) this.#bearing.begin(now);
    const member = newMember({ life: this.#life, number: this.#number }, now);
    this.#members.set(batchId, member);
    return member;
  }
}
