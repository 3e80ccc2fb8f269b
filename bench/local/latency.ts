/** How long a small batch takes from create to `completed`, when the upstream answers at once, as a client sees it. */
import { setTimeout as delay } from "node:timers/promises";
import { type BenchOptions, type Report } from "../rig/report.ts";
import { createBatch, type Rig, uploadInput, withRig } from "../rig/rig.ts";
import { percentile } from "../rig/statistics.ts";

const SIZES = [1, 10];
const LINE_BYTES = 600;
/** After each answer: an end is seen late by this and one request at most. */
const POLL_MS = 10;
const WARM_UP_RUNS = 5;
const RUNS_PER_ROUND = 10;

interface Run {
  readonly lines: number;
  readonly ms: number;
}

export function measureLatency({ rounds, signal, say }: BenchOptions): Promise<Report> {
  return withRig({ signal }, async (rig) => {
    await rig.upstream.configure({});
    const fileIds = new Map<number, string>();
    for (const lines of SIZES) fileIds.set(lines, await uploadInput(rig, { lines, lineBytes: LINE_BYTES }));
    const values: Run[] = [];
    for (let run = -WARM_UP_RUNS; run < rounds * RUNS_PER_ROUND; run += 1) {
      for (const [lines, fileId] of fileIds) {
        const ms = await pollUntilCompleted(rig, fileId);
        if (run >= 0) values.push({ lines, ms });
      }
    }
    say(`${values.length} batches`);
    const rows = SIZES.map((lines) => {
      const times = values.filter((value) => value.lines === lines).map(({ ms }) => ms);
      return [`${lines}`, times.length, percentile(times, 50), percentile(times, 90), Math.max(...times)];
    });
    const title = `From create to completed, polled ${POLL_MS} ms after each answer`;
    return { tables: [{ title, head: ["lines", "batches", "p50 ms", "p90 ms", "most ms"], rows }], values };
  });
}

async function pollUntilCompleted({ client }: Rig, fileId: string): Promise<number> {
  const startedAt = performance.now();
  let batch = await createBatch(client, fileId);
  while (batch.status !== "completed") {
    if (batch.status === "failed") throw new Error(`${batch.id} failed`);
    await delay(POLL_MS);
    batch = await client.batches.retrieve(batch.id);
  }
  return performance.now() - startedAt;
}
