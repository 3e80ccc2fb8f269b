/** What a benchmark has found, and how it is printed: tables that can stand in a document as they are. */
import { formatTable } from "../table.ts";

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  /** The first column is text, all others are figures. */
  readonly rows: readonly (readonly (string | number)[])[];
}

export interface Report {
  readonly tables: readonly Table[];
  /** Every single value, for the results file. */
  readonly values: unknown;
}

export interface BenchOptions {
  readonly rounds: number;
  readonly signal: AbortSignal;
  /** Says what is under way. */
  readonly say: (text: string) => void;
}

export function renderTable({ title, head, rows }: Table): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "number" ? formatNumber(cell) : cell)));
  return `${title}\n\n${formatTable(head, cells)}\n`;
}

/** Three significant figures, with commas between thousands. */
function formatNumber(value: number): string {
  const digits =
    Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 2 - Math.floor(Math.log10(Math.abs(value) || 1));
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.max(0, Math.min(4, digits)) });
}

export function formatPercent(share: number): string {
  return `${(share * 100).toFixed(share < 0.995 ? 1 : 0)} %`;
}

export function toMebibytes(bytes: number | null): number | string {
  return bytes === null ? "unknown" : bytes / (1024 * 1024);
}
