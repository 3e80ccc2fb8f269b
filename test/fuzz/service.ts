/** The Worker's HTTP side in this isolate, what every reply of it has to look like, and what it leaves behind. */
import { createExecutionContext, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { app } from "../../src/http/app.ts";

const ORIGIN = "https://nightshift.test";
const REFUSALS: readonly number[] = [400, 401, 404, 405, 409, 412, 413, 416];

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Sends, and checks what must be true of every reply. */
export async function send(path: string, init: RequestInit = {}): Promise<Reply> {
  const headers = init.headers ?? { authorization: "Bearer sk-test" };
  const response = await app.fetch(new Request(ORIGIN + path, { ...init, headers }), env, createExecutionContext());
  const bytes = await response.arrayBuffer();
  expect(response.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
  const isJson = response.headers.get("content-type") === "application/json";
  const json = isJson ? (JSON.parse(new TextDecoder().decode(bytes)) as Reply["json"]) : {};
  if (response.status >= 400) {
    expect(REFUSALS).toContain(response.status);
    expectEnvelope(json);
  }
  return { status: response.status, headers: response.headers, json };
}

/** Neither repeats more than a short piece of what was sent. */
function expectEnvelope(json: unknown): void {
  const text = (least: number, most: number) => expect.stringMatching(new RegExp(`^[^]{${least},${most}}$`)) as unknown;
  const orNull = (expected: unknown) => expect.toBeOneOf([expected, null]) as unknown;
  expect(json).toEqual({
    error: {
      message: text(1, 600),
      type: "invalid_request_error",
      param: orNull(text(0, 250)),
      code: orNull(text(1, 50)),
    },
  });
}

/** Everything that the service keeps of files and batches, in numbers. */
export async function countTraces(): Promise<{
  readonly files: number;
  readonly batches: number;
  readonly objects: number;
}> {
  const counting = env.DB.prepare(
    "SELECT (SELECT COUNT(*) FROM files) AS files, (SELECT COUNT(*) FROM batches) AS batches",
  ).first<{ files: number; batches: number }>();
  const [rows, { objects }] = await Promise.all([counting, env.BUCKET.list()]);
  return { files: rows?.files ?? 0, batches: rows?.batches ?? 0, objects: objects.length };
}

export const NO_TRACES = { files: 0, batches: 0, objects: 0 };

/** Ends a batch by hand, and forgets it. */
export async function endBatch(id: string): Promise<void> {
  const stub = env.COORDINATORS.getByName(id);
  await stub.cancel();
  for (let alarms = 0; alarms < 3 && (await runDurableObjectAlarm(stub)); alarms += 1);
  expect(await stub.snapshot()).toBeNull();
  await env.DB.prepare("DELETE FROM batches WHERE id = ?1").bind(id).run();
}

/** Deletes a file as a client does. */
export async function deleteFile(id: unknown): Promise<void> {
  expect((await send(`/v1/files/${String(id)}`, { method: "DELETE" })).status).toBe(200);
}
