/** Whether a small batch that comes later has to wait for a large one: both on one upstream of 64 slots. */
import { setTimeout as delay } from "node:timers/promises";
import type OpenAI from "openai";
import { type BenchOptions, type Report } from "../rig/report.ts";
import { createBatch, DEFAULT_MAX_IN_FLIGHT, requireWhole, runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { median } from "../rig/statistics.ts";

const LARGE_LINES = 20_000;
const SMALL_LINES = 10;
const LINE_BYTES = 600;
const LATENCY_MS = 100;
const SMALL_RUNS = 7;
const POLL_MS = 200;

interface Round {
  readonly aloneMs: number;
  readonly besideMs: number;
  readonly slowestBesideMs: number;
}

export function measureFairness({ rounds, signal, say }: BenchOptions): Promise<Report> {
  return withRig({ signal }, async (rig) => {
    await rig.upstream.configure({ latencyMs: LATENCY_MS, slots: DEFAULT_MAX_IN_FLIGHT });
    const small = await uploadInput(rig, { lines: SMALL_LINES, lineBytes: LINE_BYTES });
    const large = await uploadInput(rig, { lines: LARGE_LINES, lineBytes: LINE_BYTES });
    const timeSmall = async () => {
      const times: number[] = [];
      for (let run = 0; run < SMALL_RUNS; run += 1) times.push((await runBatch(rig, small)).ms);
      return times;
    };
    await timeSmall();
    const values: Round[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const alone = await timeSmall();
      const { id } = await createBatch(rig.client, large);
      await untilUnderWay(rig.client, id);
      const beside = await timeSmall();
      const { status } = await rig.client.batches.retrieve(id);
      if (status !== "in_progress") throw new Error("the large batch ended before the small ones");
      await rig.log.untilFinal(id);
      await requireWhole(rig.client, id);
      values.push({ aloneMs: median(alone), besideMs: median(beside), slowestBesideMs: Math.max(...beside) });
      say(`round ${round + 1}: ${Math.round(median(alone))} ms alone, ${Math.round(median(beside))} ms beside`);
    }
    const rows = values.map(({ aloneMs, besideMs, slowestBesideMs }, index) => [
      index + 1,
      aloneMs,
      besideMs,
      slowestBesideMs,
      `${(besideMs / aloneMs).toFixed(1)}x`,
    ]);
    const title = `${SMALL_LINES} lines while ${LARGE_LINES} run, upstream ${LATENCY_MS} ms, 64 slots for both`;
    const head = ["round", "alone ms", "beside ms", "slowest beside ms", "beside / alone"];
    return { tables: [{ title, head, rows }], values };
  });
}

/** Until a tenth of the lines are done: by then the batch's in-flight limit no longer grows. */
async function untilUnderWay(client: OpenAI, id: string): Promise<void> {
  for (;;) {
    const { request_counts: counts } = await client.batches.retrieve(id);
    if ((counts?.completed ?? 0) >= LARGE_LINES / 10) return;
    await delay(POLL_MS);
  }
}
