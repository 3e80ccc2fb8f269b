/** The coordinator's rows, and the doors between them and the domain. No I/O. */
import type { BatchRecord, Usage } from "../domain/batch.ts";
import type { FileRecord } from "../domain/file.ts";
import type { ChunkLine } from "../domain/dispatch.ts";
import type { LineState, SliceProgress, SliceState } from "../domain/ledger.ts";

export interface BatchStateRow extends Record<string, SqlStorageValue> {
  readonly record: string;
  readonly sealed_key: string | null;
  readonly ending: string | null;
  readonly ends_by: number | null;
  readonly final: string | null;
}

export interface SliceRow extends Record<string, SqlStorageValue> {
  readonly idx: number;
  readonly first_line: number;
  readonly line_count: number;
  readonly byte_start: number;
  readonly byte_length: number;
  readonly progress: string;
  readonly token: string | null;
}

export interface ChunkRow extends Record<string, SqlStorageValue> {
  readonly key: string;
  readonly lines: ArrayBuffer;
  readonly usage: string | null;
}

/** How a batch ends, once that is decided. */
export type Ending = "completed" | "cancelled" | "expired" | "failed";

/** What the coordinator knows of its batch beside its lines. */
export interface BatchState {
  readonly record: BatchRecord;
  readonly sealedKey: string | null;
  /** Null while lines may still be started. */
  readonly ending: Ending | null;
  /** After this nothing in flight is waited for. */
  readonly endsBy: Date | null;
  /** How it will be for good, once its files are written: from here on it is only published and cleaned up after. */
  readonly final: FinalState | null;
}

export interface FinalState {
  readonly record: BatchRecord;
  /** Output and error file, as far as there are any. */
  readonly files: readonly FileRecord[];
}

/** One line of a stored chunk. `unexecuted` counts neither as completed nor as failed; `void` is nobody's result. */
export interface StoredLine {
  readonly line: number;
  readonly bytes: number;
  readonly result: StoredResult;
}

export type StoredResult = ChunkLine["result"] | "unexecuted" | "void";

export interface StoredChunk {
  readonly key: string;
  readonly lines: readonly StoredLine[];
  readonly usage: Usage | null;
}

const RESULTS: readonly StoredResult[] = ["completed", "failed", "unexecuted", "void"];
const NUMBERS_PER_LINE = 3;

export function toBatchStateValues(state: BatchState): (string | number | null)[] {
  return [
    JSON.stringify(state.record),
    state.sealedKey,
    state.ending,
    state.endsBy?.getTime() ?? null,
    state.final === null ? null : JSON.stringify(state.final),
  ];
}

export function fromBatchStateRow(row: BatchStateRow): BatchState {
  return {
    record: reviveBatch(JSON.parse(row.record) as BatchRecord),
    sealedKey: row.sealed_key,
    ending: row.ending as Ending | null,
    endsBy: row.ends_by === null ? null : new Date(row.ends_by),
    final: row.final === null ? null : reviveFinal(JSON.parse(row.final) as FinalState),
  };
}

export function toSliceValues({ slice, progress, token }: SliceState): (string | number | null)[] {
  return [
    slice.index,
    slice.firstLine,
    slice.lineCount,
    slice.byteStart,
    slice.byteLength,
    toProgressText(progress),
    token,
  ];
}

export function fromSliceRow(row: SliceRow): SliceState {
  return {
    slice: {
      index: row.idx,
      firstLine: row.first_line,
      lineCount: row.line_count,
      byteStart: row.byte_start,
      byteLength: row.byte_length,
    },
    progress: fromProgressText(row.progress),
    token: row.token,
  };
}

/** Three 32-bit numbers a line, in the chunk's order: a row of 50 lines takes 600 bytes. */
export function toLineBlob(lines: readonly StoredLine[]): ArrayBuffer {
  const numbers = new Uint32Array(lines.length * NUMBERS_PER_LINE);
  for (const [index, { line, bytes, result }] of lines.entries()) {
    numbers.set([line, bytes, RESULTS.indexOf(result)], index * NUMBERS_PER_LINE);
  }
  return numbers.buffer;
}

export function fromChunkRow(row: ChunkRow): StoredChunk {
  const numbers = new Uint32Array(row.lines);
  const lines: StoredLine[] = [];
  for (let at = 0; at < numbers.length; at += NUMBERS_PER_LINE) {
    lines.push({
      line: numbers[at] ?? 0,
      bytes: numbers[at + 1] ?? 0,
      result: RESULTS[numbers[at + 2] ?? 0] ?? "void",
    });
  }
  return { key: row.key, lines, usage: row.usage === null ? null : (JSON.parse(row.usage) as Usage) };
}

function toProgressText(progress: SliceProgress): string {
  if (typeof progress === "string") return progress;
  return JSON.stringify(progress.map((line) => (line === null ? 0 : [line.attempts, line.dueAt])));
}

function fromProgressText(text: string): SliceProgress {
  if (text === "fresh" || text === "settled") return text;
  const lines = JSON.parse(text) as readonly (0 | readonly [number, number])[];
  return lines.map((line): LineState => (line === 0 ? null : { attempts: line[0], dueAt: line[1] }));
}

/** JSON has no dates: these come back as text. */
function reviveFinal({ record, files }: FinalState): FinalState {
  const revived = files.map((file) => ({
    ...file,
    createdAt: new Date(file.createdAt),
    expiresAt: file.expiresAt === null ? null : new Date(file.expiresAt),
  }));
  return { record: reviveBatch(record), files: revived };
}

function reviveBatch(stored: BatchRecord): BatchRecord {
  const times = Object.entries(stored.times as unknown as Record<string, string | null>).map(([name, time]) => [
    name,
    time === null ? null : new Date(time),
  ]);
  return {
    ...stored,
    createdAt: new Date(stored.createdAt),
    expiresAt: new Date(stored.expiresAt),
    times: Object.fromEntries(times) as BatchRecord["times"],
  };
}
