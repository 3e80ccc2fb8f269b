/**
 * `kill -9` of the whole local runtime while it validates, runs, finalizes and cancels, then a plain start on the
 * same storage. `KILLS=20 npx vitest run test/e2e/kill.test.ts` kills more often, each time at another moment (once
 * unless told; twice in `npm run test:long`); `--reporter=verbose` shows in which statuses, how long it took to heal,
 * and how many lines were sent twice.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import OpenAI from "openai";
import { describe, expect, inject, test } from "vitest";
import { type LocalStack, startLocalStack } from "../../scripts/local-stack.ts";
import { type FakeUpstream, startFakeUpstream } from "./fake-upstream.ts";
import { chatLine, createBatch, readResults, waitForBatch, waitUntil } from "./nightshift.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** How many times, as vitest.config.ts reads it from the environment. */
    readonly kills: number;
  }
}

const HEALED_WITHIN_MS = 120_000;
const TEST_TIMEOUT_MS = 240_000;
/** Validating the large file, or writing the results of the quick batch, takes about as long. */
const MAX_DELAY_MS = 100;
const QUICK_LINES = 1000;
const SETTLED_RESULTS = 2;

interface Victim {
  readonly batch: OpenAI.Batch;
  readonly lines: readonly string[];
  readonly expected: string;
}

describe("batches that are validating, in progress, finalizing and cancelling", () => {
  test.for(Array.from({ length: inject("kills") }, (_, index) => index + 1))(
    "end by themselves after kill -9 and a plain start, number %i",
    { timeout: TEST_TIMEOUT_MS },
    async (kill, { annotate }) => {
      const upstream = await startFakeUpstream();
      const storage = mkdtempSync(path.join(tmpdir(), "nightshift-kill-"));
      let stack = await start(upstream, storage);
      try {
        const delayMs = Math.random() * MAX_DELAY_MS;
        const victims = await beginAll(stack, upstream, kill % 2 === 1 ? "validating" : "finalizing");
        await delay(delayMs);
        killWhole(stack.pid);
        const { settled, statuses } = readDeadObjects(storage, victims);
        // Two of the four are held there; where the others were caught depends on the moment.
        expect(statuses).toEqual(expect.arrayContaining(["in_progress", "cancelling"]));
        const callsBefore = upstream.countCalls("");
        upstream.release();
        const restartedAt = Date.now();
        stack = await start(upstream, storage);
        const client = clientOf(stack);
        for (const victim of victims) await checkEnd(client, victim);
        const healedMs = Date.now() - restartedAt;
        const callsAfter = upstream.countCalls("");
        const sentTwice = [...callsAfter.values()].filter((calls) => calls === 2).length;
        await annotate(`caught ${statuses.join(", ")}; healed in ${healedMs} ms; ${sentTwice} lines sent twice`);
        expect(healedMs, `killed after ${delayMs} ms`).toBeLessThan(HEALED_WITHIN_MS);
        const sentAgain = [...settled].filter((line) => callsAfter.get(line) !== callsBefore.get(line));
        expect(sentAgain, "lines that had settled").toEqual([]);
        expect(settled.size).toBeGreaterThan(0);
        expect(Math.max(...callsAfter.values()), "lines in flight are sent once more at most").toBeLessThanOrEqual(2);
      } finally {
        await stack.stop();
        await upstream.stop();
        rmSync(storage, { recursive: true, force: true });
      }
    },
  );
});

/** Four batches; the last thing that happens is the beginning of `moment`. */
async function beginAll(
  stack: LocalStack,
  upstream: FakeUpstream,
  moment: "validating" | "finalizing",
): Promise<readonly Victim[]> {
  const client = clientOf(stack);
  const running = await begin(client, "running", { lines: 200, heldFrom: 60 });
  const cancelling = await begin(client, "cancelling", { lines: 60, heldFrom: 20 });
  await waitUntil(() => upstream.countCalls("cancelling-").size > 20);
  await waitForBatch(client, running.batch.id, ({ request_counts: counts }) => (counts?.completed ?? 0) > 0);
  await client.batches.cancel(cancelling.batch.id);
  const quick = await begin(client, "quick", { lines: QUICK_LINES, heldFrom: Infinity });
  // Not `waitUntil`: its next look would come too late.
  while (upstream.countCalls("quick-").size < QUICK_LINES) await delay(2);
  const size = { lines: 300, heldFrom: Infinity, padding: 100_000 };
  const large = moment === "validating" ? [await begin(client, "large", size)] : [];
  return [
    { ...running, expected: "completed" },
    { ...cancelling, expected: "cancelled" },
    ...[quick, ...large].map((batch) => ({ ...batch, expected: "completed" })),
  ];
}

interface Size {
  readonly lines: number;
  /** Lines from this one on are answered only after the kill. */
  readonly heldFrom: number;
  /** Bytes that each line is longer. */
  readonly padding?: number;
}

async function begin(client: OpenAI, name: string, { lines: count, heldFrom, padding = 0 }: Size) {
  const lines = Array.from({ length: count }, (_, index) => `${name}-${index}`);
  const input = lines.map((line, index) => chatLine({ line, isHeld: index >= heldFrom }) + " ".repeat(padding));
  return { batch: await createBatch(client, input), lines };
}

async function checkEnd(client: OpenAI, { batch, lines, expected }: Victim): Promise<void> {
  const ended = await waitForBatch(client, batch.id);
  expect(ended.status).toBe(expected);
  expect(ended.request_counts?.total).toBe(lines.length);
  const output = await readResults(client, ended.output_file_id);
  const errors = await readResults(client, ended.error_file_id);
  const succeeded = new Set(output.map((line) => line.custom_id));
  expect(output.map((line) => line.custom_id)).toEqual(lines.filter((line) => succeeded.has(line)));
  expect(errors.map((line) => line.custom_id)).toEqual(lines.filter((line) => !succeeded.has(line)));
  expect(errors.map((line) => line.error?.code)).toEqual(errors.map(() => "batch_cancelled"));
}

function start(upstream: FakeUpstream, storage: string): Promise<LocalStack> {
  const fake = { kind: "http", base_url: upstream.baseUrl, max_in_flight: 128 };
  return startLocalStack({
    storage,
    variables: { UPSTREAMS: JSON.stringify({ fake }), DEFAULT_UPSTREAM: "fake" },
  });
}

function clientOf({ origin, apiKey }: LocalStack): OpenAI {
  return new OpenAI({ baseURL: `${origin}/v1`, apiKey });
}

/** At once, from the top down, so that nobody can put anything in order. */
function killWhole(root: number): void {
  const processes = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number));
  const doomed = [root];
  for (const pid of doomed) {
    doomed.push(...processes.filter(([, parent]) => parent === pid).map(([child = 0]) => child));
  }
  for (const pid of doomed) process.kill(pid, "SIGKILL");
}

interface DeadObjects {
  /** Lines that they had counted, each with its chunk. */
  readonly settled: ReadonlySet<string>;
  readonly statuses: readonly string[];
}

/** What stands in the tables of objects that are no more. */
function readDeadObjects(storage: string, victims: readonly Victim[]): DeadObjects {
  const linesOf = new Map(victims.map(({ batch, lines }) => [batch.id, lines]));
  const settled = new Set<string>();
  const statuses: string[] = [];
  const copy = mkdtempSync(path.join(tmpdir(), "nightshift-dead-"));
  try {
    cpSync(path.join(storage, "v3/do"), copy, { recursive: true });
    const databases = readdirSync(copy, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".sqlite"),
    );
    for (const name of databases) {
      const db = new DatabaseSync(path.join(copy, name));
      if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'chunks'").get() !== undefined) {
        const { record } = db.prepare("SELECT record FROM batch").get() as { record: string };
        const { id, status } = JSON.parse(record) as { id: string; status: string };
        statuses.push(status);
        for (const row of db.prepare("SELECT lines FROM chunks").all() as { lines: Uint8Array }[]) {
          for (const line of settledIn(row.lines)) settled.add(linesOf.get(id)?.[line] ?? "no such line");
        }
      }
      db.close();
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  return { settled, statuses };
}

/** Three numbers a line: src/batch/storage-rows.ts. */
function settledIn(blob: Uint8Array): readonly number[] {
  const numbers = new Uint32Array(blob.slice().buffer);
  return [...numbers].filter((_, at) => at % 3 === 0 && (numbers[at + 2] ?? 9) < SETTLED_RESULTS);
}
