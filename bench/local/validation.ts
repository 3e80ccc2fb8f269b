/**
 * How fast the validation itself is: the project's own code over the bytes of a large file, in Node, without
 * storage. What the size benchmark needs beyond this goes into reading the object.
 */
import { ENDPOINTS } from "../../src/protocol/endpoints.ts";
import { InputCheck } from "../../src/protocol/input-check.ts";
import { LineSplitter } from "../../src/domain/jsonl.ts";
import { MAX_LINE_BYTES } from "../../src/domain/limits.ts";
import { makeInput } from "../rig/input.ts";
import { type BenchOptions, type Report } from "../rig/report.ts";
import { median } from "../rig/statistics.ts";

const PATH = "/v1/chat/completions";
const SHAPES = [
  { lines: 50_000, lineBytes: 400 },
  { lines: 50_000, lineBytes: 4194 },
];
/** As src/batch/validate.ts reads them. */
const READ_BYTES = 256 * 1024;

export async function measureValidation({ rounds, say }: BenchOptions): Promise<Report> {
  const values = SHAPES.map((shape) => {
    const bytes = Buffer.concat([...makeInput(shape)]);
    validate(bytes);
    const times = Array.from({ length: rounds }, () => validate(bytes));
    say(`${bytes.length} bytes: ${Math.round(median(times))} ms`);
    return { ...shape, mebibytes: bytes.length / (1024 * 1024), times };
  });
  const rows = values.map(({ lines, lineBytes, mebibytes, times }) => {
    const seconds = median(times) / 1000;
    return [`${lines.toLocaleString("en-US")} of ${lineBytes} bytes`, mebibytes, seconds, mebibytes / seconds];
  });
  return { tables: [{ title: "Medians", head: ["lines", "MiB", "seconds", "MiB/s"], rows }], values };
}

/** @returns milliseconds. @throws Error when the input is refused. */
function validate(bytes: Buffer): number {
  const endpoint = ENDPOINTS[PATH];
  if (endpoint === undefined) throw new Error(`there is no endpoint ${PATH}`);
  const startedAt = performance.now();
  const check = new InputCheck({ path: PATH, endpoint, models: null, maxLines: Infinity, digest: (text) => text });
  const splitter = new LineSplitter(MAX_LINE_BYTES, (line) => check.addLine(line));
  for (let from = 0; from < bytes.length; from += READ_BYTES) splitter.push(bytes.subarray(from, from + READ_BYTES));
  splitter.end();
  if (!check.verdict().ok) throw new Error("a valid input was refused");
  return performance.now() - startedAt;
}
