/** Result lines that are not stored yet, by slice, and the chunks they make. Keeps no line it has handed out. */
import type { Usage } from "../domain/batch.ts";
import type { Chunk, ChunkLine } from "../domain/chunk.ts";
import type { Outcome } from "../domain/outcome.ts";
import type { ClaimedSlice } from "../domain/slices.ts";
import { addUsage } from "../domain/usage.ts";
import { newId } from "../new-id.ts";
import { type ResultLineTexts, toResultLine } from "../protocol/result-line.ts";
import type { ReadyLine } from "./slice-lines.ts";

interface FinishedLine extends ChunkLine {
  readonly text: Uint8Array;
  readonly usage: Usage | null;
}

interface OpenSlice {
  /** Lines that are neither finished nor given back. */
  unfinished: number;
  finished: FinishedLine[];
  /** When the first of `finished` was; null when there are none. */
  finishedSince: Date | null;
}

export interface MadeChunk extends Chunk {
  readonly bytes: Uint8Array;
  /** Indexes of the slices of its lines. */
  readonly slices: readonly number[];
  readonly usage: Usage | null;
}

/** Whole slices cost the coordinator one row each; the lines of a slice that goes on cost one more. */
export type Scope = "nothing" | "whole_slices" | "everything";

/** A chunk is one put, the most expensive operation that is billed: it should hold this many lines, or slices. */
const CHUNK_LINES = 100;
const CHUNK_SLICES = 8;
/** Not kept longer, however few they are: what is not stored is lost with its consumer. */
const MAX_HELD_MS = 30_000;
const MAX_HELD_BYTES = 4 * 1024 * 1024;

const LARGE_CHARACTERS = 1024 * 1024;

const encoder = new TextEncoder();

export class FinishedLines {
  /** Slices of which something is still to be finished or stored, by index. */
  readonly #slices = new Map<number, OpenSlice>();
  /** Of all finished lines here. */
  #bytes = 0;

  /** When what is here has to be stored; null when there is nothing. */
  get dueAt(): Date | null {
    let since: Date | null = null;
    for (const { finishedSince } of this.#slices.values()) {
      if (finishedSince !== null && (since === null || finishedSince < since)) since = finishedSince;
    }
    return since === null ? null : new Date(since.getTime() + MAX_HELD_MS);
  }

  get isFull(): boolean {
    return this.#bytes >= MAX_HELD_BYTES;
  }

  /** What is worth storing now. */
  scopeAt(now: Date): Scope {
    const { dueAt } = this;
    if (this.isFull || (dueAt !== null && dueAt <= now)) return "everything";
    const whole = [...this.#slices.values()].filter(({ unfinished }) => unfinished === 0);
    const lines = whole.reduce((sum, { finished }) => sum + finished.length, 0);
    return lines >= CHUNK_LINES || whole.length >= CHUNK_SLICES ? "whole_slices" : "nothing";
  }

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  /** Of all finished lines here. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Indexes of the slices of which something is still to be finished or stored. */
  get openSlices(): readonly number[] {
    return [...this.#slices.keys()];
  }

  expect(slices: readonly ClaimedSlice[]): void {
    for (const { index, lines } of slices) {
      this.#slices.set(index, { unfinished: lines.length, finished: [], finishedSince: null });
    }
  }

  add({ line, sliceIndex, customId }: ReadyLine, outcome: Outcome, now: Date): ChunkLine["result"] {
    const result = outcome.failure === null ? "completed" : "failed";
    const id = newId("batch_req_", now);
    const ownRequestId = newId("req_", now);
    const text = encodeLine(toResultLine({ id, customId, outcome, ownRequestId }));
    const usage = outcome.kind === "answered" && result === "completed" ? outcome.usage : null;
    const slice = this.#slices.get(sliceIndex);
    if (slice !== undefined) slice.finishedSince ??= now;
    slice?.finished.push({ line, bytes: text.length, result, text, usage });
    this.#bytes += text.length;
    this.#close(sliceIndex);
    return result;
  }

  /** The line is given back: its slice does not wait for it. */
  releaseLine({ sliceIndex }: Pick<ReadyLine, "sliceIndex">): void {
    this.#close(sliceIndex);
  }

  /**
   * Takes lines out, as a chunk: successes first, then failures, each in input order. Null when there are none. It takes
   * no further slice once it has `MAX_HELD_BYTES`: while a chunk is put together its lines are in memory twice.
   */
  makeChunk(scope: Scope, key: string): MadeChunk | null {
    if (scope === "nothing") return null;
    const lines: FinishedLine[] = [];
    const slices: number[] = [];
    let length = 0;
    for (const [index, slice] of this.#slices) {
      if (length >= MAX_HELD_BYTES) break;
      if (scope === "whole_slices" && slice.unfinished > 0) continue;
      const taken = takeLines(slice, MAX_HELD_BYTES - length);
      length += taken.reduce((sum, { bytes }) => sum + bytes, 0);
      if (taken.length > 0) slices.push(index);
      lines.push(...taken);
      if (slice.unfinished === 0 && slice.finished.length === 0) this.#slices.delete(index);
    }
    if (lines.length === 0) return null;
    this.#bytes -= length;
    lines.sort((a, b) => a.result.localeCompare(b.result) || a.line - b.line);
    return {
      key,
      slices,
      bytes: concatenate(lines.map(({ text }) => text)),
      usage: lines.reduce<Usage | null>((sum, line) => addUsage(sum, line.usage), null),
      lines: lines.map(({ line, bytes, result }) => ({ line, bytes, result })),
    };
  }

  #close(sliceIndex: number): void {
    const slice = this.#slices.get(sliceIndex);
    if (slice === undefined) return;
    slice.unfinished -= 1;
    if (slice.unfinished === 0 && slice.finished.length === 0) this.#slices.delete(sliceIndex);
  }
}

/** A large body is encoded where it will stand, which works when it is ASCII, as most JSON is. */
function encodeLine({ head, body, tail }: ResultLineTexts): Uint8Array {
  if (body.length < LARGE_CHARACTERS) return encoder.encode(head + body + tail);
  const before = encoder.encode(head);
  const after = encoder.encode(tail);
  const line = new Uint8Array(before.length + body.length + after.length);
  const { read, written } = encoder.encodeInto(body, line.subarray(before.length, before.length + body.length));
  if (read < body.length || written < body.length) return concatenate([before, encoder.encode(body), after]);
  line.set(before);
  line.set(after, before.length + body.length);
  return line;
}

/** Takes the first finished lines out, until they have `bytes`; the last one may go beyond it. */
function takeLines(slice: OpenSlice, bytes: number): readonly FinishedLine[] {
  let count = 0;
  for (let sum = 0; count < slice.finished.length && sum < bytes; count += 1) sum += slice.finished[count]?.bytes ?? 0;
  const taken = slice.finished.splice(0, count);
  if (slice.finished.length === 0) slice.finishedSince = null;
  return taken;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
