/**
 * Reads of one batch and of pages of the list, at the start, in the middle and at the end, with 100,000 batches of one
 * tenant and as many of another in D1.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type BenchOptions, type Report } from "../rig/report.ts";
import { type Rig, runBatch, uploadInput, withRig } from "../rig/rig.ts";
import { copyBatch } from "../rig/seed-batches.ts";
import { percentile } from "../rig/statistics.ts";

const BATCHES = 100_000;
const REQUESTS_PER_ROUND = 200;
const WARM_UP_REQUESTS = 20;
const PAGE = 100;
const AUTO_PAGINATED_PAGES = 50;

interface Kind {
  readonly name: string;
  /** @param index of the request, so that each asks for another batch. */
  readonly read: (rig: Rig, index: number) => Promise<unknown>;
}

export async function measureReads({ rounds, signal, say }: BenchOptions): Promise<Report> {
  const storage = mkdtempSync(path.join(tmpdir(), "nightshift-bench-reads-"));
  try {
    const batchId = await withRig({ signal, storage }, async (rig) => {
      const fileId = await uploadInput(rig, { lines: 1, lineBytes: 400 });
      return (await runBatch(rig, fileId)).batch.id;
    });
    const ids = copyBatch(storage, batchId, BATCHES);
    say(`${ids.length} batches are in D1`);
    return await withRig({ signal, storage }, (rig) => measure(rig, makeKinds(ids), { rounds, say }));
  } finally {
    rmSync(storage, { recursive: true, force: true });
  }
}

/** @param ids oldest first. */
function makeKinds(ids: readonly string[]): readonly Kind[] {
  const idAt = (share: number) => ids[Math.floor(share * (ids.length - 1))] ?? "";
  return [
    { name: "one batch", read: ({ client }, index) => client.batches.retrieve(idAt((index * 0.618) % 1)) },
    { name: "list, first 20", read: ({ client }) => client.batches.list() },
    { name: `list, first ${PAGE}`, read: ({ client }) => client.batches.list({ limit: PAGE }) },
    {
      name: `list, ${PAGE} behind the middle`,
      read: ({ client }, index) => client.batches.list({ limit: PAGE, after: idAt(0.5 + (index % 100) / 1000) }),
    },
    {
      name: `list, ${PAGE} at the far end`,
      read: ({ client }, index) => client.batches.list({ limit: PAGE, after: idAt(0.01 + (index % 100) / 10_000) }),
    },
  ];
}

async function measure(
  rig: Rig,
  kinds: readonly Kind[],
  { rounds, say }: Pick<BenchOptions, "rounds" | "say">,
): Promise<Report> {
  const times = new Map<string, number[]>(kinds.map(({ name }) => [name, []]));
  for (const { read } of kinds) for (let index = 0; index < WARM_UP_REQUESTS; index += 1) await read(rig, index);
  for (let index = 0; index < rounds * REQUESTS_PER_ROUND; index += 1) {
    for (const { name, read } of kinds) {
      const startedAt = performance.now();
      await read(rig, index);
      times.get(name)?.push(performance.now() - startedAt);
    }
  }
  const pages = await walkPages(rig);
  say(`${pages.length} pages by auto-pagination`);
  times.set(`SDK auto-pagination, a page of ${PAGE}`, pages);
  const rows = [...times].map(([name, ms]) => [name, ms.length, percentile(ms, 50), percentile(ms, 99)]);
  const title = `${BATCHES.toLocaleString("en-US")} batches in D1, one request at a time, over HTTP with the SDK`;
  return {
    tables: [{ title, head: ["read", "requests", "p50 ms", "p99 ms"], rows }],
    values: Object.fromEntries(times),
  };
}

/** @returns the time of each page. */
async function walkPages({ client }: Rig): Promise<number[]> {
  const times: number[] = [];
  let startedAt = performance.now();
  const seen = new Set<string>();
  for await (const batch of client.batches.list({ limit: PAGE })) {
    seen.add(batch.id);
    if (seen.size % PAGE !== 0) continue;
    times.push(performance.now() - startedAt);
    startedAt = performance.now();
    if (times.length === AUTO_PAGINATED_PAGES) break;
  }
  if (seen.size === AUTO_PAGINATED_PAGES * PAGE) return times;
  throw new Error("auto-pagination showed a batch twice, or stopped early");
}
