/**
 * The largest batch there is: 50,000 lines and 200 MB. Each phase is timed, the results are checked line by line,
 * and the runtime's memory is watched. What is uploaded must come back byte for byte.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, openAsBlob } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { customIdOf, makeInput } from "../rig/input.ts";
import { type IsolateWatch, watchIsolate } from "../rig/isolate-memory.ts";
import { type BenchOptions, type Report, type Table, toMebibytes } from "../rig/report.ts";
import { createBatch, requireWhole, type Rig, withRig } from "../rig/rig.ts";
import { median } from "../rig/statistics.ts";

type NodeStream = Parameters<typeof Readable.fromWeb>[0];

const LINES = 50_000;
/** All lines together are as close to 200 MiB as equal lines can be. */
const LINE_BYTES = 4194;
const ANSWER_BYTES = 4096;

interface Phase {
  readonly name: string;
  readonly ms: number;
  readonly bytes: number;
  /** Of the Worker's isolate. */
  readonly isolatePeakBytes: number | null;
  /** Of the whole runtime, its simulators included, beyond what it had before this round. */
  readonly runtimePeakBytes: number | null;
}

export async function measureSize({ rounds, signal, say }: BenchOptions): Promise<Report> {
  const values: (readonly Phase[])[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    // A stack of its own for each round: what the last one left in memory would hide the growth.
    await withRig({ signal }, async (rig) => {
      const isolate = await watchIsolate(rig.inspectorPort);
      values.push(await runRound(rig, isolate, (text) => say(`round ${round}, ${text}`)));
      isolate.stop();
    });
  }
  return { tables: [toTable(values)], values };
}

async function runRound(rig: Rig, isolate: IsolateWatch, say: (text: string) => void): Promise<readonly Phase[]> {
  const phases: Phase[] = [];
  const inputPath = path.join(rig.folder, "input.jsonl");
  const outputPath = path.join(rig.folder, "output.jsonl");
  await writeFile(inputPath, makeInput({ lines: LINES, lineBytes: LINE_BYTES }));
  await rig.upstream.configure({ answerBytes: ANSWER_BYTES });
  rig.processes.takePeakBytes();
  const idleBytes = rig.processes.bytes();

  function note(name: string, ms: number, bytes: number): void {
    const peak = rig.processes.takePeakBytes();
    const runtimePeakBytes = peak === null || idleBytes === null ? null : peak - idleBytes;
    phases.push({ name, ms, bytes, isolatePeakBytes: isolate.takePeakBytes(), runtimePeakBytes });
    say(`${name}: ${(ms / 1000).toFixed(1)} s`);
  }
  async function time<Value>(name: string, work: () => Promise<Value & { readonly bytes: number }>) {
    const startedAt = performance.now();
    const value = await work();
    note(name, performance.now() - startedAt, value.bytes);
    return value;
  }

  await time("upload, fields first, with a length", () => uploadWithLength(rig, inputPath));
  const input = await time("upload, SDK stream, file first", () =>
    rig.client.files.create({ file: createReadStream(inputPath), purpose: "batch" }),
  );
  const batchId = await runPhases(rig, input, note);
  const { output_file_id: outputFileId, request_counts: counts } = await requireWhole(rig.client, batchId);
  if (typeof outputFileId !== "string" || counts?.completed !== LINES) throw new Error(`${batchId} lost lines`);
  await time("download of the output", () => download(rig, outputFileId, outputPath));
  await checkOutput(outputPath);
  await time("download of the input", () => downloadSame(rig, input.id, inputPath));
  return phases;
}

/** Each phase is over when the Worker's log says so, so that its memory can be told from the next one's. */
async function runPhases(
  rig: Rig,
  input: { readonly id: string; readonly bytes: number },
  note: (name: string, ms: number, bytes: number) => void,
): Promise<string> {
  const createdAt = performance.now();
  const { id } = await createBatch(rig.client, input.id);
  const runsAt = (await rig.log.until(id, "in_progress")).at;
  note("validate", runsAt - createdAt, input.bytes);
  const settledAt = (await rig.log.until(id, "finalizing")).at;
  note("run", settledAt - runsAt, input.bytes);
  const finalAt = (await rig.log.untilFinal(id)).at;
  const { output_file_id: outputFileId } = await rig.client.batches.retrieve(id);
  const { bytes } = await rig.client.files.retrieve(outputFileId ?? "");
  note("finalize", finalAt - settledAt, bytes);
  return id;
}

async function uploadWithLength(rig: Rig, inputPath: string): Promise<{ readonly bytes: number }> {
  const form = new FormData();
  form.set("purpose", "batch");
  form.set("file", await openAsBlob(inputPath), "input.jsonl");
  const response = await fetch(`${rig.origin}/v1/files`, {
    method: "POST",
    headers: { authorization: `Bearer ${rig.apiKey}` },
    body: form,
  });
  if (!response.ok) throw new Error(`the upload was answered with ${response.status}`);
  return response.json<{ readonly bytes: number }>();
}

async function download(rig: Rig, fileId: string, target: string): Promise<{ readonly bytes: number }> {
  const { headers, stream } = await openContent(rig, fileId);
  const file = createWriteStream(target);
  await pipeline(stream, file);
  if (file.bytesWritten !== Number(headers.get("content-length"))) throw new Error(`${fileId} came cut off`);
  return { bytes: file.bytesWritten };
}

async function downloadSame(rig: Rig, fileId: string, source: string): Promise<{ readonly bytes: number }> {
  const { stream } = await openContent(rig, fileId);
  const [came, went] = await Promise.all([digest(stream), digest(createReadStream(source))]);
  if (came.hash !== went.hash) throw new Error(`${fileId} came back different`);
  return { bytes: came.bytes };
}

async function openContent({ client }: Rig, fileId: string) {
  const { body, headers } = await client.files.content(fileId);
  if (body === null) throw new Error(`${fileId} came without a body`);
  // The types of the Worker's streams and of Node's do not know each other.
  return { headers, stream: Readable.fromWeb(body as unknown as NodeStream) };
}

async function digest(stream: Readable): Promise<{ readonly hash: string; readonly bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { hash: hash.digest("hex"), bytes };
}

/** Every line once, in input order, each with a whole answer. */
async function checkOutput(outputPath: string): Promise<void> {
  let line = 0;
  for await (const text of createInterface({ input: createReadStream(outputPath) })) {
    const { custom_id: customId, response } = JSON.parse(text) as {
      readonly custom_id: string;
      readonly response: { readonly status_code: number; readonly body: unknown };
    };
    const answerBytes = JSON.stringify(response.body).length;
    if (customId !== customIdOf(line) || response.status_code !== 200 || answerBytes !== ANSWER_BYTES) {
      throw new Error(`line ${line} of the output is not what it should be: ${customId}`);
    }
    line += 1;
  }
  if (line !== LINES) throw new Error(`the output has ${line} lines`);
}

function toTable(values: readonly (readonly Phase[])[]): Table {
  const phases = values[0] ?? [];
  return {
    title: `${LINES.toLocaleString("en-US")} lines of ${LINE_BYTES} bytes, answers of ${ANSWER_BYTES}, at once: medians`,
    head: ["phase", "MiB", "seconds", "MiB/s", "lines/s", "the Worker's memory, MiB", "all of workerd over idle, MiB"],
    rows: phases.map(({ name, bytes }, index) => {
      const ms = median(values.flatMap((round) => round[index]?.ms ?? []));
      const isolatePeaks = values.flatMap((round) => round[index]?.isolatePeakBytes ?? []);
      const runtimePeaks = values.flatMap((round) => round[index]?.runtimePeakBytes ?? []);
      const mebibytes = bytes / (1024 * 1024);
      return [
        name,
        mebibytes,
        ms / 1000,
        (mebibytes * 1000) / ms,
        (LINES * 1000) / ms,
        ...[isolatePeaks, runtimePeaks].map((peaks) => toMebibytes(peaks.length === 0 ? null : median(peaks))),
      ];
    }),
  };
}
