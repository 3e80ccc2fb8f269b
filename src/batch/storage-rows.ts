/** The coordinator's rows, and the doors between them and the domain. No I/O. */
import { type BatchRecord, NO_TIMES, type Usage } from "../domain/batch.ts";
import type { StoredChunk, StoredLine, StoredResult } from "../domain/chunk.ts";
import type { LineHistory } from "../domain/line-history.ts";
import type { LineState, SliceProgress, SliceState } from "../domain/line-state.ts";
import { type BatchState, type EarlyEnding, type Ending, finalOf, type FinalState, type Stage } from "./state.ts";

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

const RESULTS: readonly StoredResult[] = ["completed", "failed", "unexecuted", "void"];
const NUMBERS_PER_LINE = 3;

export function toBatchStateValues({ record, sealedKey, stage }: BatchState): (string | number | null)[] {
  return [JSON.stringify(record), sealedKey, ...toStageValues(stage)];
}

export function fromBatchStateRow(row: BatchStateRow): BatchState {
  const record = reviveBatch(JSON.parse(row.record) as BatchRecord);
  return { record, sealedKey: row.sealed_key, stage: fromStageColumns(row) };
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
      // A kind that only a newer version knows: its line stands in the error file.
      result: RESULTS[numbers[at + 2] ?? 0] ?? "failed",
    });
  }
  return { key: row.key, lines, usage: row.usage === null ? null : (JSON.parse(row.usage) as Usage) };
}

/** In the order of the columns: `ending`, `ends_by`, `final`. */
function toStageValues(stage: Stage): (string | number | null)[] {
  const final = finalOf(stage);
  if (final !== null) return [final.record.status, null, JSON.stringify(final)];
  const ending = "ending" in stage ? stage.ending : null;
  return [ending, stage.kind === "draining" ? stage.until.getTime() : null, null];
}

function fromStageColumns({ ending, ends_by: endsBy, final }: BatchStateRow): Stage {
  if (final !== null) return { kind: "ended", final: reviveFinal(JSON.parse(final) as FinalState) };
  if (ending === null) return { kind: "open" };
  if (endsBy === null || ending === "completed") return { kind: "finalizing", ending: ending as Ending };
  return { kind: "draining", ending: ending as EarlyEnding, until: new Date(endsBy) };
}

/** A line as JSON: 0 when it is settled. What has its usual value at the end of the list is left out. */
type LineEntry = 0 | readonly [attempts?: number, dueAt?: number, lapses?: number, history?: LineHistory];

function toProgressText(progress: SliceProgress): string {
  return typeof progress === "string" ? progress : JSON.stringify(progress.map(toLineEntry));
}

function toLineEntry(line: LineState): LineEntry {
  if (line === null) return 0;
  const { attempts, dueAt, lapses = 0, history = null } = line;
  if (history !== null) return [attempts, dueAt, lapses, history];
  return lapses === 0 ? [attempts, dueAt] : [attempts, dueAt, lapses];
}

function fromProgressText(text: string): SliceProgress {
  if (text === "fresh" || text === "settled") return text;
  // A newer version may store more of a line, and an older one less.
  return (JSON.parse(text) as readonly LineEntry[]).map((entry): LineState => {
    if (entry === 0) return null;
    const [attempts = 0, dueAt = 0, lapses = 0, history = null] = entry;
    return { attempts, dueAt, lapses, history };
  });
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
    times: { ...NO_TIMES, ...(Object.fromEntries(times) as Partial<BatchRecord["times"]>) },
  };
}
