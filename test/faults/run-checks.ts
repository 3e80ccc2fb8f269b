/** What must be true at the end of a fault run, whatever failed in it. Each check names the rule it finds broken. */
import { env } from "cloudflare:workers";
import type { BatchStatus } from "../../src/domain/batch.ts";
import { FILES_PREFIX, fileKey } from "../../src/stores/object-keys.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { sweep } from "../../src/sweep/sweep.ts";
import { clearPacers } from "../support/pacers.ts";
import { type BatchReply, type Client, customIdOf } from "./client.ts";
import type { FaultRun } from "./fault-run.ts";
import { DEATHS_UNTIL_LOST } from "./line-holders.ts";

interface ResultLine {
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly body: { readonly id?: string } } | null;
  readonly error: { readonly code: string } | null;
}

const DAY_MS = 86_400_000;
const EXPECTED_UNEXECUTED: Partial<Readonly<Record<BatchStatus, string>>> = {
  cancelled: "batch_cancelled",
  expired: "batch_expired",
  failed: "input_file_unavailable",
};

/** @returns the rules that were broken, in words. */
export async function checkOutcome(run: FaultRun, ...clients: readonly Client[]): Promise<readonly string[]> {
  const broken = [...run.rules.violations];
  for (const client of clients) {
    if (client.batch !== null) broken.push(...(await checkResults(run, client, client.batch)));
  }
  broken.push(...checkResent(run), ...checkPace(run, clients));
  broken.push(...(await checkLeftovers(run)));
  return broken;
}

/** Empties the stores, so that the next run begins like the first. */
export async function clearStores(): Promise<void> {
  const { objects } = await env.BUCKET.list();
  if (objects.length > 0) await env.BUCKET.delete(objects.map(({ key }) => key));
  const db = await openDatabase(env.DB);
  await db.batch(["files", "batches", "sweep_cursors"].map((table) => db.prepare(`DELETE FROM ${table}`)));
  await clearPacers();
}

/** Invariant 1: every custom_id once, in input order, in the file where it belongs; counts that say the same. */
async function checkResults(run: FaultRun, client: Client, batch: BatchReply): Promise<readonly string[]> {
  const broken: string[] = [];
  const output = await readResults(batch.output_file_id);
  const errors = await readResults(batch.error_file_id);
  const unexecuted = errors.filter(({ response, error }) => response === null && error?.code.startsWith("batch_"));
  const { total, completed, failed } = batch.request_counts;
  const wasValidated = total > 0;
  if (total !== (wasValidated ? client.plan.lines : 0)) broken.push(`total is ${total}`);
  if (output.length + errors.length !== total) broken.push(`${output.length} + ${errors.length} lines of ${total}`);
  if (output.length !== completed) broken.push(`${completed} completed, but ${output.length} output lines`);
  if (errors.length - unexecuted.length !== failed) broken.push(`${failed} failed, but other error lines`);
  for (const [name, lines] of [
    ["output", output],
    ["error", errors],
  ] as const) {
    const numbers = lines.map((line) => Number(line.custom_id.slice(customIdOf(0).length - 1)));
    if (numbers.some((number, index) => index > 0 && number <= (numbers[index - 1] ?? 0))) {
      broken.push(`${name} lines are not in input order, or twice: ${numbers.join()}`);
    }
  }
  const customIds = new Set([...output, ...errors].map((line) => line.custom_id));
  if (customIds.size !== total) broken.push("a custom_id is missing");
  for (const line of output) {
    const number = line.custom_id.slice(5);
    const isItsOwn = line.response?.status_code === 200 && line.response.body.id?.startsWith(`chat-${number}-`);
    if (isItsOwn !== true) broken.push(`${line.custom_id} has the answer ${JSON.stringify(line.response)}`);
  }
  broken.push(...checkFailures(run, client, errors));
  for (const { error } of unexecuted) {
    if (error?.code !== EXPECTED_UNEXECUTED[batch.status]) broken.push(`${batch.status} with a line ${error?.code}`);
  }
  if (batch.status === "completed" && unexecuted.length > 0) broken.push("completed with unexecuted lines");
  const { cancelAfterMs } = client.plan;
  if (client.isCancelAccepted && batch.status !== "cancelled") broken.push(`cancelled, and it is ${batch.status}`);
  if (batch.status === "cancelled" && cancelAfterMs === null) broken.push("cancelled by nobody");
  return broken;
}

/** A line fails only by what the upstream answered it, or because its consumers died; those of nothing else end well. */
function checkFailures(run: FaultRun, { batch, plan }: Client, errors: readonly ResultLine[]): readonly string[] {
  const broken: string[] = [];
  if (batch === null) return broken;
  const { id, status } = batch;
  const { holders } = run.rules;
  const codes = new Map(errors.map(({ custom_id, error }) => [Number(custom_id.slice(5)), error?.code]));
  for (let line = 0; line < plan.lines; line += 1) {
    const kills = holders.killsOf(id, line);
    const isLost = codes.get(line) === "consumer_lost";
    if (isLost && mayBeLost(run, id, line)) continue;
    if (isLost) broken.push(`line ${line} is lost, and killed ${kills} consumers`);
    if (status !== "completed" || isLost) continue;
    if (kills >= DEATHS_UNTIL_LOST) broken.push(`line ${line} killed ${kills} consumers, and is ${codes.get(line)}`);
    if (codes.has(line) && !run.upstream.failed.has(line)) {
      broken.push(`line ${line} never failed upstream, and is ${codes.get(line)}`);
    }
  }
  return broken;
}

/**
 * Where lines alone kill consumers, four of those that had it must have died so, of itself too. Else others may have died, or
 * fallen silent, with it.
 */
function mayBeLost(run: FaultRun, batchId: string, line: number): boolean {
  const { holders } = run.rules;
  if (run.hasLosses) return holders.holdersOf(batchId, line) >= DEATHS_UNTIL_LOST;
  return holders.killsOf(batchId, line) > 0 && holders.deathsWith(batchId, line) >= DEATHS_UNTIL_LOST;
}

async function readResults(fileId: string | null): Promise<readonly ResultLine[]> {
  if (fileId === null) return [];
  const object = await env.BUCKET.get(fileKey(fileId));
  const text = object === null ? "" : await object.text();
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as ResultLine);
}

/** What R2 does not take is kept: where nothing but R2 fails, no answer is asked for twice while its consumer lives. */
function checkResent({ scenario, evictions, rules }: FaultRun): readonly string[] {
  const { resent } = rules.holders;
  if (scenario.faults.length > (scenario.r2Outage?.sides.length ?? 0) || evictions > 0 || resent.size === 0) return [];
  return [`sent again, although answered: ${[...resent].join()}`];
}

/** Nothing runs hot: a limit on the calls in any ten seconds, which grows with the lines of the batch. */
function checkPace(run: FaultRun, clients: readonly Client[]): readonly string[] {
  const lines = clients.reduce((sum, { plan }) => sum + plan.lines, 0);
  const perWindow = new Map<number, number>();
  for (const { at } of run.injector.calls) {
    const window = Math.floor(at / 10_000);
    perWindow.set(window, (perWindow.get(window) ?? 0) + 1);
  }
  const most = Math.max(0, ...perWindow.values());
  const limit = 120 * Math.max(1, clients.length) + 20 * lines;
  return most > limit ? [`${most} calls in ten seconds, more than ${limit}`] : [];
}

/** After the sweep of another day there is no row without bytes, no bytes without a row, and no chunk. */
async function checkLeftovers(run: FaultRun): Promise<readonly string[]> {
  const broken: string[] = [];
  await sweep(env, new Date(run.startedAt + 3 * DAY_MS));
  const { objects } = await env.BUCKET.list();
  const stored = new Set(objects.map(({ key }) => key));
  const { results } = await env.DB.prepare("SELECT id, deleted_at FROM files").all<{
    id: string;
    deleted_at: number | null;
  }>();
  const known = new Set(results.map(({ id }) => fileKey(id)));
  for (const key of stored) {
    if (!key.startsWith(FILES_PREFIX)) broken.push(`left behind: ${key}`);
    else if (!known.has(key)) broken.push(`bytes without a row: ${key}`);
  }
  for (const key of known) if (!stored.has(key)) broken.push(`a row without bytes: ${key}`);
  if (results.some((row) => row.deleted_at !== null)) broken.push("a deleted file still has its row");
  return broken;
}
