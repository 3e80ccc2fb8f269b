import { env } from "cloudflare:workers";
import { runDurableObjectAlarm } from "cloudflare:test";
import { beforeAll, describe, expect, test } from "vitest";
import { fileKey } from "../../src/stores/object-keys.ts";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { BOUNDARY, writeForm } from "../support/service.ts";
import { type Reply, sendChecked } from "./checked-replies.ts";
import { fuzz, timeoutOf } from "./fuzz.ts";
import { hugeInputFile, type InputFile, inputFile, writeFile } from "./input-files.ts";
import { countTraces, deleteFile, NO_TRACES } from "./traces.ts";

const LINES = { percent: 3.7 };
const HUGE_LINES = { percent: 0.3 };
const KEY = { authorization: "Bearer sk-test" };

holdClockAndQueue();

beforeAll(async () => {
  await sendChecked("/v1/files");
});

function upload(content: Uint8Array): Promise<Reply> {
  const body = writeForm([
    { name: "purpose", content: "batch" },
    { name: "file", filename: "input.jsonl", content },
  ]);
  const contentType = `multipart/form-data; boundary=${BOUNDARY}`;
  return sendChecked("/v1/files", { method: "POST", body, headers: { ...KEY, "content-type": contentType } });
}

async function create(inputFileId: string): Promise<string> {
  const order = { input_file_id: inputFileId, endpoint: "/v1/embeddings", completion_window: "24h" };
  const created = await sendChecked("/v1/batches", { method: "POST", body: JSON.stringify(order), headers: KEY });
  expect(created.status).toBe(200);
  return String(created.json["id"]);
}

interface Judged {
  readonly status: string;
  readonly total: number;
  readonly errors: readonly unknown[];
}

async function judge(batchId: string): Promise<Judged> {
  expect(await runDurableObjectAlarm(env.COORDINATORS.getByName(batchId))).toBe(true);
  const { json } = await sendChecked(`/v1/batches/${batchId}`);
  const errors = (json["errors"] as { data: readonly unknown[] } | null)?.data ?? [];
  return { status: String(json["status"]), total: (json["request_counts"] as { total: number }).total, errors };
}

/** Cancels what was accepted, so that every line gets its error. @returns their ids in order. */
async function cancel(batchId: string): Promise<readonly unknown[]> {
  await sendChecked(`/v1/batches/${batchId}/cancel`, { method: "POST" });
  await runDurableObjectAlarm(env.COORDINATORS.getByName(batchId));
  const { json } = await sendChecked(`/v1/batches/${batchId}`);
  expect(json["status"]).toBe("cancelled");
  const object = await env.BUCKET.get(fileKey(String(json["error_file_id"])));
  const ids = parseLines(object === null ? "" : await object.text()).map((it) => it["custom_id"]);
  await deleteFile(json["error_file_id"]);
  return ids;
}

function parseLines(text: string): readonly Record<string, unknown>[] {
  return text
    .split("\n")
    .filter((it) => it.trim() !== "")
    .map((it) => JSON.parse(it) as Record<string, unknown>);
}

async function check(input: InputFile): Promise<void> {
  const content = await writeFile(input);
  const uploaded = await upload(content);
  if (uploaded.status !== 200) {
    expect([input.isBehindGoodLine, await countTraces()]).toEqual([false, NO_TRACES]);
    return;
  }
  const fileId = String(uploaded.json["id"]);
  const batchId = await create(fileId);
  const { status, total, errors } = await judge(batchId);
  if (status === "failed") {
    expect(errors.length).toBeGreaterThan(0);
    const text = expect.stringMatching(/./) as unknown;
    for (const error of errors) expect(error).toMatchObject({ code: text, message: text });
  } else {
    expect(status).toBe("in_progress");
    const parsed = parseLines(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content));
    const ids = parsed.map((it) => it["custom_id"]);
    expect(total).toBe(ids.length);
    expect(new Set(ids).size).toBe(ids.length);
    expect(await cancel(batchId)).toEqual(ids);
  }
  await deleteFile(fileId);
  await env.DB.prepare("DELETE FROM batches").run();
  expect(await env.COORDINATORS.getByName(batchId).snapshot()).toBeNull();
  expect(await countTraces()).toEqual(NO_TRACES);
}

describe("an input file of anything is accepted with all its lines or refused with reasons, and leaves nothing", () => {
  test("of a few short lines", () => fuzz(LINES, inputFile, check), timeoutOf(LINES));

  test("with a line of megabytes", () => fuzz(HUGE_LINES, hugeInputFile, check), timeoutOf(HUGE_LINES));
});
