/**
 * The ledger of a batch: which lines are settled, which are with whom, and which may be handed out. Pure
 * state in memory, rebuilt from and written through to tables by src/batch/storage.ts. A slice is
 * with one token at a time; a line settles once, whoever reports it, however often.
 * The life of a line is drawn in line-state.ts.
 */
import { MAX_HANDED_BYTES } from "./limits.ts";
import type { ChunkLine } from "./chunk.ts";
import type { GivenBackLine } from "./conversation.ts";
import {
  countDue,
  type DueTimes,
  dueTimesOf,
  isLost,
  lineAt,
  type LineState,
  mustRunAlone,
  nextDue,
  type PendingLine,
  pendingLines,
  type SliceState,
  toClaimedLine,
  UNTRIED,
  untried,
} from "./line-state.ts";
import { type ClaimedSlice, findSlice } from "./slices.ts";

export class Ledger {
  readonly #slices: SliceState[];
  /** Lines handed out under the slice's token and not yet reported, by slice index. */
  readonly #open = new Map<number, Set<number>>();
  /** Slices that were handed out before and wait to be handed out again, with what is known of when. */
  readonly #returned = new Map<number, DueTimes>();
  /** Slices that are to be written down. */
  readonly #changed = new Set<number>();
  /** No slice before this one is fresh. */
  #freshFrom = 0;
  /** Lines of fresh slices. */
  #freshLines = 0;
  #unsettled = 0;

  /** @param slices in order, index by index. Lines of a slice with a token count as handed out. */
  constructor(slices: readonly SliceState[]) {
    this.#slices = [...slices];
    for (const { slice, progress, token } of slices) {
      const pending = pendingLines(slice, progress);
      this.#unsettled += pending.length;
      if (progress === "fresh" && token === null) this.#freshLines += slice.lineCount;
      else if (token !== null) this.#open.set(slice.index, new Set(pending));
      else if (pending.length > 0) this.#returned.set(slice.index, dueTimesOf(slice, progress));
    }
  }

  get totalLines(): number {
    const last = this.#slices.at(-1)?.slice;
    return last === undefined ? 0 : last.firstLine + last.lineCount;
  }

  get meanLineBytes(): number {
    const last = this.#slices.at(-1)?.slice;
    return last === undefined ? 0 : (last.byteStart + last.byteLength) / this.totalLines;
  }

  get unsettledLines(): number {
    return this.#unsettled;
  }

  /** Lines that are with somebody. */
  get openLines(): number {
    return [...this.#open.values()].reduce((lines, open) => lines + open.size, 0);
  }

  /** How many of them are with whom. */
  openLinesByToken(): ReadonlyMap<string, number> {
    const lines = new Map<string, number>();
    for (const [index, open] of this.#open) {
      const token = this.#slices[index]?.token;
      if (token !== null && token !== undefined) lines.set(token, (lines.get(token) ?? 0) + open.size);
    }
    return lines;
  }

  /** Lines that could be handed out at `now`. */
  claimableLines(now: number): number {
    return [...this.#returned.values()].reduce((lines, due) => lines + countDue(due, now), this.#freshLines);
  }

  /** When the next line that waits may be tried again; null when none waits beyond `now`. */
  nextDueAt(now: number): number | null {
    const times = [...this.#returned.values()].map((due) => nextDue(due, now) ?? Infinity);
    const next = Math.min(...times);
    return Number.isFinite(next) ? next : null;
  }

  /**
   * Hands out whole slices until they hold `wantedLines` lines, or as many bytes as a consumer may take at once. A line that
   * must run alone is left out.
   */
  handOut(token: string, wantedLines: number, now: number): readonly ClaimedSlice[] {
    const claimed: ClaimedSlice[] = [];
    let lines = 0;
    let bytes = 0;
    for (const index of this.#claimableSlices(now)) {
      const due = this.#dueLines(index, now).filter((line) => !mustRunAlone(this.#lineAt(index, line)));
      if (due.length === 0) continue;
      bytes += this.#at(index).slice.byteLength;
      if (lines >= wantedLines || (lines > 0 && bytes > MAX_HANDED_BYTES)) break;
      claimed.push(this.#handOutLines(index, token, due));
      lines += due.length;
    }
    return claimed;
  }

  /** Hands out one line, one that must run alone before others. Empty: none is due. */
  handOutOne(token: string, now: number): readonly ClaimedSlice[] {
    let other: readonly [number, number] | null = null;
    for (const index of this.#claimableSlices(now)) {
      const due = this.#dueLines(index, now);
      const alone = due.find((line) => mustRunAlone(this.#lineAt(index, line)));
      if (alone !== undefined) return [this.#handOutLines(index, token, [alone])];
      if (due[0] !== undefined) other ??= [index, due[0]];
      // What was never handed out has no such line.
      if (this.#at(index).progress === "fresh") break;
    }
    return other === null ? [] : [this.#handOutLines(other[0], token, [other[1]])];
  }

  /** Lines that too many consumers died with, slice by slice: they are to be settled without a result. */
  lostSlices(): readonly ClaimedSlice[] {
    return this.unsettledSlices()
      .map((slice) => ({ ...slice, lines: slice.lines.filter(({ line }) => isLost(this.#lineAt(slice.index, line))) }))
      .filter(({ index, lines }) => lines.length > 0 && this.#at(index).token === null);
  }

  /** Settles those lines that are with `token`. True for each of them, false for the others, in the order of `lines`. */
  settle(token: string, lines: readonly ChunkLine[]): readonly boolean[] {
    const accepted = lines.map(({ line }) => this.#take(token, line, null));
    this.#closeFinished(token);
    return accepted;
  }

  giveBack(token: string, lines: readonly GivenBackLine[]): void {
    for (const { line, attempts, dueAt, history = null } of lines) {
      const lapses = this.#lineAt(findSlice(this.#slices, line), line).lapses ?? 0;
      this.#take(token, line, { attempts, dueAt: dueAt?.getTime() ?? 0, history, lapses });
    }
    this.#closeFinished(token);
  }

  /** Takes everything back that `token` has not reported. @param kept indexes of slices that stay with it. */
  release(token: string, kept: readonly number[] = []): void {
    for (const index of this.#open.keys()) {
      if (this.#at(index).token === token && !kept.includes(index)) this.#close(index);
    }
  }

  /** The same for a consumer that has died: any of the lines that it had may be why. */
  releaseDead(token: string): void {
    for (const [index, open] of this.#open) {
      const { slice, progress, token: holder } = this.#at(index);
      if (holder !== token) continue;
      const states = typeof progress === "string" ? [...untried(slice)] : [...progress];
      for (const line of open) {
        const before = this.#lineAt(index, line);
        states[line - slice.firstLine] = { ...before, lapses: (before.lapses ?? 0) + 1 };
      }
      this.#write(index, { slice, progress: states, token: holder });
    }
    this.release(token);
  }

  /** Lines that nobody executed and nobody will, slice by slice: what is left when a batch is ended early. */
  unsettledSlices(): readonly ClaimedSlice[] {
    return this.#slices
      .filter(({ progress }) => progress !== "settled")
      .map(({ slice, progress }) => ({
        ...slice,
        lines: pendingLines(slice, progress).map((line) => toClaimedLine(line, lineAt(slice, progress, line))),
      }));
  }

  /** Settles lines that are with nobody: their error lines say why they have no result. */
  settleMissing(lines: readonly number[]): void {
    for (const line of lines) {
      const index = findSlice(this.#slices, line);
      if (this.#setLine(index, line, null)) this.#unsettled -= 1;
      this.#settleOrReturn(index);
    }
  }

  /** Settled lines whose results are lost are unsettled again. They are with nobody. */
  reopen(lines: readonly number[]): void {
    for (const line of lines) {
      const index = findSlice(this.#slices, line);
      const { slice, progress, token } = this.#at(index);
      const states: LineState[] = typeof progress === "string" ? [...untried(slice)].fill(null) : [...progress];
      states[line - slice.firstLine] = UNTRIED;
      this.#unsettled += 1;
      this.#write(index, { slice, progress: states, token });
    }
  }

  /** Slices changed since the last call, to be written down. */
  takeChanged(): readonly SliceState[] {
    const changed = [...this.#changed].map((index) => this.#at(index));
    this.#changed.clear();
    return changed;
  }

  *#claimableSlices(now: number): Iterable<number> {
    // A map may be changed while it is gone through: what is handed out leaves it.
    for (const [index, due] of this.#returned) if (countDue(due, now) > 0) yield index;
    for (; this.#freshFrom < this.#slices.length; this.#freshFrom += 1) {
      const { progress, token } = this.#at(this.#freshFrom);
      if (progress === "fresh" && token === null) yield this.#freshFrom;
    }
  }

  #handOutLines(index: number, token: string, due: readonly number[]): ClaimedSlice {
    const { slice, progress } = this.#at(index);
    if (progress === "fresh") this.#freshLines -= slice.lineCount;
    this.#returned.delete(index);
    this.#open.set(index, new Set(due));
    this.#write(index, { slice, progress, token });
    return { ...slice, lines: due.map((line) => toClaimedLine(line, lineAt(slice, progress, line))) };
  }

  /** True when the line was with `token`, and is now what `state` says. */
  #take(token: string, line: number, state: LineState): boolean {
    const index = findSlice(this.#slices, line);
    if (this.#slices[index]?.token !== token || !this.#open.get(index)?.delete(line)) return false;
    if (this.#setLine(index, line, state) && state === null) this.#unsettled -= 1;
    return true;
  }

  /** True when the line was pending before. */
  #setLine(index: number, line: number, state: LineState): boolean {
    const current = this.#at(index);
    if (current.progress === "settled") return false;
    const progress = current.progress === "fresh" ? [...untried(current.slice)] : [...current.progress];
    if (current.progress === "fresh" && current.token === null) this.#freshLines -= current.slice.lineCount;
    const offset = line - current.slice.firstLine;
    const wasPending = progress[offset] !== null;
    progress[offset] = wasPending ? state : null;
    this.#write(index, { ...current, progress });
    return wasPending;
  }

  #closeFinished(token: string): void {
    for (const [index, open] of this.#open) {
      if (open.size === 0 && this.#at(index).token === token) this.#close(index);
    }
  }

  #close(index: number): void {
    const { slice, progress } = this.#at(index);
    this.#open.delete(index);
    this.#write(index, { slice, progress: progress === "fresh" ? untried(slice) : progress, token: null });
    this.#settleOrReturn(index);
  }

  /** A slice that is with nobody is settled for good, or waits to be handed out again. */
  #settleOrReturn(index: number): void {
    const state = this.#at(index);
    if (state.progress === "settled") return;
    if (pendingLines(state.slice, state.progress).length > 0) {
      if (state.token === null) this.#returned.set(index, dueTimesOf(state.slice, state.progress));
      return;
    }
    this.#returned.delete(index);
    this.#write(index, { ...state, progress: "settled" });
  }

  #dueLines(index: number, now: number): readonly number[] {
    const { slice, progress } = this.#at(index);
    return pendingLines(slice, progress).filter((line) => {
      const state = lineAt(slice, progress, line);
      return state.dueAt <= now && !isLost(state);
    });
  }

  #lineAt(index: number, line: number): PendingLine {
    const state = this.#slices[index];
    return state === undefined ? UNTRIED : lineAt(state.slice, state.progress, line);
  }

  #write(index: number, state: SliceState): void {
    this.#slices[index] = state;
    this.#changed.add(index);
  }

  #at(index: number): SliceState {
    const state = this.#slices[index];
    if (state === undefined) throw new RangeError(`the ledger has no slice ${index}`);
    return state;
  }
}
