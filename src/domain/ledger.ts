/**
 * The ledger of a batch: which lines are settled, which are with whom, and which may be handed out. Pure
 * state in memory, rebuilt from and written through to tables by src/batch/storage.ts. A slice is
 * with one token at a time; a line settles once, whoever reports it, however often.
 *
 *             handOut              settle
 *   pending ───────────▶ open ───────────────▶ settled
 *     ▲  │                 │                    ▲   │
 *     │  └─────────────────┼── settleMissing ───┘   │
 *     ├─ giveBack, release ┘                        │
 *     └──────────────────── reopen ─────────────────┘
 *
 *   pending        nobody has the line; it may be handed out from the time at which it is due
 *   handOut        its slice goes to a dispatch, which then has all due lines of it
 *   giveBack       the dispatch wants it to be tried later, by whoever has room then
 *   release        the dispatch is gone: what it had is pending again
 *   settle         its result is stored
 *   settleMissing  the batch ends without a result of the line; its error line is stored
 *   reopen         the stored result is lost
 */
import { MAX_HANDED_BYTES } from "./limits.ts";
import type { ChunkLine } from "./chunk.ts";
import type { GivenBackLine } from "./conversation.ts";
import type { ClaimedLine, ClaimedSlice, Slice } from "./slices.ts";

/** A line that is not settled: tries so far, and the time before which it is not tried again (ms; 0: now). */
export interface PendingLine {
  readonly attempts: number;
  readonly dueAt: number;
}

/** Null: settled. */
export type LineState = PendingLine | null;

/** `fresh`: nothing of it was ever reported or taken back. `settled`: every line is. A list: one entry a line. */
export type SliceProgress = "fresh" | "settled" | readonly LineState[];

export interface SliceState {
  readonly slice: Slice;
  readonly progress: SliceProgress;
  /** Who works on it; null: nobody. */
  readonly token: string | null;
}

const UNTRIED: PendingLine = { attempts: 0, dueAt: 0 };

export class Ledger {
  readonly #slices: SliceState[];
  /** Lines handed out under the slice's token and not yet reported, by slice index. */
  readonly #open = new Map<number, Set<number>>();
  /** Slices that were handed out before and wait to be handed out again. */
  readonly #returned = new Set<number>();
  readonly #changed = new Set<number>();
  #freshFrom = 0;
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
      else if (pending.length > 0) this.#returned.add(slice.index);
    }
  }

  get totalLines(): number {
    const last = this.#slices.at(-1)?.slice;
    return last === undefined ? 0 : last.firstLine + last.lineCount;
  }

  get unsettledLines(): number {
    return this.#unsettled;
  }

  /** Lines that are with somebody. */
  get openLines(): number {
    let lines = 0;
    for (const open of this.#open.values()) lines += open.size;
    return lines;
  }

  openLinesOf(token: string): number {
    let lines = 0;
    for (const [index, open] of this.#open) if (this.#slices[index]?.token === token) lines += open.size;
    return lines;
  }

  /** Lines that could be handed out at `now`. */
  claimableLines(now: number): number {
    let lines = this.#freshLines;
    for (const index of this.#returned) lines += this.#dueLines(index, now).length;
    return lines;
  }

  /** When the next line that waits may be tried again; null when none waits beyond `now`. */
  nextDueAt(now: number): number | null {
    let next: number | null = null;
    for (const index of this.#returned) {
      const { progress } = this.#at(index);
      if (typeof progress === "string") continue;
      for (const line of progress) {
        if (line !== null && line.dueAt > now && (next === null || line.dueAt < next)) next = line.dueAt;
      }
    }
    return next;
  }

  /** Hands out whole slices until they hold `wantedLines` lines, or as many bytes as a consumer may take at once. */
  handOut(token: string, wantedLines: number, now: number): readonly ClaimedSlice[] {
    const claimed: ClaimedSlice[] = [];
    let lines = 0;
    let bytes = 0;
    for (const index of this.#claimableSlices(now)) {
      bytes += this.#at(index).slice.byteLength;
      if (lines >= wantedLines || (lines > 0 && bytes > MAX_HANDED_BYTES)) break;
      const slice = this.#handOutSlice(index, token, now);
      claimed.push(slice);
      lines += slice.lines.length;
    }
    return claimed;
  }

  /** Settles those lines that are with `token`. True for each of them, false for the others, in the order of `lines`. */
  settle(token: string, lines: readonly ChunkLine[]): readonly boolean[] {
    const accepted = lines.map(({ line }) => this.#take(token, line, null));
    this.#closeFinished(token);
    return accepted;
  }

  giveBack(token: string, lines: readonly GivenBackLine[]): void {
    for (const { line, attempts, dueAt } of lines) {
      this.#take(token, line, { attempts, dueAt: dueAt?.getTime() ?? 0 });
    }
    this.#closeFinished(token);
  }

  /** Takes everything back that `token` has not reported. @param kept indexes of slices that stay with it. */
  release(token: string, kept: readonly number[] = []): void {
    for (const index of this.#open.keys()) {
      if (this.#at(index).token === token && !kept.includes(index)) this.#close(index);
    }
  }

  /** Lines that nobody executed and nobody will, slice by slice: what is left when a batch is ended early. */
  unsettledSlices(): readonly ClaimedSlice[] {
    return this.#slices
      .filter(({ progress }) => progress !== "settled")
      .map(({ slice, progress }) => ({
        ...slice,
        lines: pendingLines(slice, progress).map((line) => claimedLine(slice, progress, line)),
      }));
  }

  /** Settles lines that are with nobody: their error lines say why they have no result. */
  settleMissing(lines: readonly number[]): void {
    for (const line of lines) {
      const index = this.#indexOf(line);
      if (this.#setLine(index, line, null)) this.#unsettled -= 1;
      this.#settleOrReturn(index);
    }
  }

  /** Settled lines whose results are lost are unsettled again. They are with nobody. */
  reopen(lines: readonly number[]): void {
    for (const line of lines) {
      const index = this.#indexOf(line);
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
    // A set may be changed while it is gone through: what is handed out leaves it.
    for (const index of this.#returned) if (this.#dueLines(index, now).length > 0) yield index;
    for (; this.#freshFrom < this.#slices.length; this.#freshFrom += 1) {
      const { progress, token } = this.#at(this.#freshFrom);
      if (progress === "fresh" && token === null) yield this.#freshFrom;
    }
  }

  #handOutSlice(index: number, token: string, now: number): ClaimedSlice {
    const { slice, progress } = this.#at(index);
    const due = progress === "fresh" ? pendingLines(slice, progress) : this.#dueLines(index, now);
    if (progress === "fresh") this.#freshLines -= slice.lineCount;
    this.#returned.delete(index);
    this.#open.set(index, new Set(due));
    this.#write(index, { slice, progress, token });
    return { ...slice, lines: due.map((line) => claimedLine(slice, progress, line)) };
  }

  /** True when the line was with `token`, and is now what `state` says. */
  #take(token: string, line: number, state: LineState): boolean {
    const index = this.#indexOf(line);
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
      if (state.token === null) this.#returned.add(index);
      return;
    }
    this.#returned.delete(index);
    this.#write(index, { ...state, progress: "settled" });
  }

  #dueLines(index: number, now: number): readonly number[] {
    const { slice, progress } = this.#at(index);
    if (typeof progress === "string") return [];
    return pendingLines(slice, progress).filter((line) => (progress[line - slice.firstLine]?.dueAt ?? 0) <= now);
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

  /** The slice that holds a line; -1 when none does. */
  #indexOf(line: number): number {
    let low = 0;
    let high = this.#slices.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { slice } = this.#at(middle);
      if (line < slice.firstLine) high = middle - 1;
      else if (line >= slice.firstLine + slice.lineCount) low = middle + 1;
      else return middle;
    }
    return -1;
  }
}

/** Line numbers that are not settled. */
function pendingLines(slice: Slice, progress: SliceProgress): readonly number[] {
  if (progress === "settled") return [];
  const numbers = Array.from({ length: slice.lineCount }, (_, offset) => slice.firstLine + offset);
  return progress === "fresh" ? numbers : numbers.filter((line) => progress[line - slice.firstLine] !== null);
}

function claimedLine(slice: Slice, progress: SliceProgress, line: number): ClaimedLine {
  const state = typeof progress === "string" ? UNTRIED : progress[line - slice.firstLine];
  return { line, attempts: state?.attempts ?? 0 };
}

function untried(slice: Slice): readonly LineState[] {
  return Array.from({ length: slice.lineCount }, () => UNTRIED);
}
