/** What must not be in any log, whatever goes right or wrong on the way of a batch. */
import { env } from "cloudflare:workers";
import { runDurableObjectAlarm } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseSettings } from "../../src/config.ts";
import { app } from "../../src/http/app.ts";
import { logFailure } from "../../src/log.ts";
import { holdClockAndQueue, HeldBatch } from "../support/held-batch.ts";
import { createAs, makeGuest, makeGuestService, uploadAs } from "../support/guest-service.ts";
import { ADMIN, send, upload, writeForm } from "../support/service.ts";
import { deliver, deliverLast, failReports, type SentRequest, standInForUpstream } from "../support/delivery.ts";

holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

const PROVIDER_KEY = "sk-secret-of-the-provider";
const FILENAME = "secret-of-the-filename.jsonl";
const PROMPT = "secret-of-the-prompt";
const COMPLETION = "secret-of-the-completion";
const METADATA = "secret-of-the-metadata";
const SECRETS = [
  PROVIDER_KEY,
  FILENAME,
  PROMPT,
  COMPLETION,
  METADATA,
  env.ADMIN_API_KEY,
  env.ENCRYPTION_KEY,
  "sk-mock-upstream",
  "Question 0",
];
const GUEST = { authorization: `Bearer ${PROVIDER_KEY}`, "x-portkey-provider": "mock" };
const LINE = JSON.stringify({
  custom_id: "a",
  method: "POST",
  url: "/v1/chat/completions",
  body: { model: "m", messages: [{ role: "user", content: PROMPT }] },
});

const logged: string[] = [];

beforeEach(() => {
  logged.length = 0;
  for (const level of ["log", "error", "warn", "info", "debug"] as const) {
    vi.spyOn(console, level).mockImplementation((...args: unknown[]) => {
      logged.push(args.map(String).join(" "));
    });
  }
});

/** Every test ends with the search. */
afterEach(() => {
  const leaks = logged.filter((line) => SECRETS.some((secret) => line.includes(secret)) || !isEvent(line));
  if (leaks.length > 0) throw new Error(`not for a log: ${leaks.join("\n")}`);
});

function isEvent(line: string): boolean {
  return typeof (JSON.parse(line) as { event?: unknown }).event === "string";
}

function form(content: string, filename = FILENAME) {
  return writeForm([
    { name: "purpose", content: "batch" },
    { name: "file", filename, content },
  ]);
}

/** Uploaded and created by a guest with a key of its own, validated, one dispatch sent. */
async function launchAsGuest(): Promise<string> {
  const { json } = await upload(form(LINE), GUEST);
  const order = {
    input_file_id: json?.["id"],
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
    metadata: { note: METADATA },
  };
  const created = await send("/v1/batches", { method: "POST", body: JSON.stringify(order), headers: GUEST });
  const id = String(created.json?.["id"]);
  await runAlarm(id);
  return id;
}

function runAlarm(id: string): Promise<boolean> {
  return runDurableObjectAlarm(env.COORDINATORS.getByName(id));
}

function lastDispatch() {
  const [messages] = vi.mocked(env.DISPATCHES).sendBatch.mock.lastCall ?? [];
  return [...(messages ?? [])].map(({ body }) => body);
}

function answerCompletion({ body }: SentRequest): Response {
  return Response.json({ choices: [{ message: { content: `${COMPLETION} to ${body}` } }], usage: { total_tokens: 1 } });
}

describe("nothing secret is logged", () => {
  test("of a batch that completes under a guest's own key", async () => {
    const sent = standInForUpstream(answerCompletion);
    const id = await launchAsGuest();
    await deliver(lastDispatch());
    await runAlarm(id);
    const { json } = await send(`/v1/batches/${id}`, { headers: GUEST });
    expect(json).toMatchObject({ status: "completed", request_counts: { completed: 1 } });
    expect(sent[0]?.headers.get("authorization")).toBe(`Bearer ${PROVIDER_KEY}`);
    const content = await send(`/v1/files/${String(json?.["output_file_id"])}/content`, { headers: GUEST });
    expect(content.text).toContain(COMPLETION);
    const events = logged.map((line) => (JSON.parse(line) as { event: string }).event);
    expect(new Set(events)).toEqual(new Set(["request", "batch_status", "dispatch"]));
    const own = logged.filter((line) => line.includes(id));
    expect(own.find((line) => line.includes('"dispatch"'))).toContain('"lines":"1","failedLines":null');
  });

  test.each<[string, (request: SentRequest) => Response]>([
    ["is down", ({ headers, body }) => fail(`connect ECONNREFUSED ${headers.get("authorization")} ${body}`)],
    [
      "says no, and repeats what it was asked",
      ({ headers, body }) => refuse(400, `${headers.get("authorization")} ${body}`),
    ],
    ["wants another key", ({ headers }) => refuse(401, `Incorrect API key: ${headers.get("authorization")}`)],
    ["answers no JSON", ({ body }) => new Response(`<html>${body}`)],
    ["stumbles", ({ body }) => refuse(500, body)],
    [
      "points elsewhere",
      ({ body }) => new Response(body, { status: 307, headers: { location: `https://evil.test/?${PROMPT}` } }),
    ],
  ])("when the upstream %s", async (_, answer) => {
    const sent = standInForUpstream(answer);
    const id = await launchAsGuest();
    await deliver(lastDispatch());
    await runAlarm(id);
    expect(new Set(sent.map(({ url }) => new URL(url).host))).toEqual(new Set(["mock.test"]));
    await send(`/v1/batches/${id}/cancel`, { method: "POST", headers: GUEST });
    expect(logged.join("\n")).toContain('"event":"dispatch"');
  });

  test("when R2, D1 and the coordinator fail one after another", async () => {
    standInForUpstream(answerCompletion);
    const batch = await HeldBatch.launch({ upstream: "mock" });
    const quoting = (what: string) => Promise.reject(new Error(`${what} is away`));
    vi.spyOn(env.BUCKET, "put").mockImplementationOnce(() => quoting("R2"));
    const reports = failReports("lost", 1);
    await deliverLast(batch);
    reports.stop();
    vi.spyOn(env.DB, "batch").mockImplementationOnce(() => quoting("D1"));
    await batch.alarm();
    expect(logged.join("\n")).toMatch(/chunk_not_stored.*R2 is away/);
    expect(logged.join("\n")).toMatch(/batch_step_failed.*D1 is away/);
  });

  test("of refused forms, orders and keys", async () => {
    await upload(form("no json"), GUEST);
    await upload(form(LINE), { "content-type": "text/plain" });
    await upload(writeForm([{ name: PROMPT, filename: FILENAME, content: LINE }]));
    await upload(form(LINE).slice(0, -30));
    await send("/v1/batches", { method: "POST", body: `{"metadata":"${PROMPT}"`, headers: ADMIN });
    await send("/v1/batches", { method: "POST", body: `{"metadata":"${PROMPT}"}`, headers: GUEST });
    await send("/v1/files", { headers: { authorization: `Bearer ${PROVIDER_KEY}` } });
    await send(`/v1/files/${PROMPT}/${FILENAME}?after=${PROVIDER_KEY}`);
    await send(`/${PROMPT}?key=${PROVIDER_KEY}`);
    expect(logged).toHaveLength(9);
  });

  test.each<[string, (request: SentRequest) => Response]>([
    ["knows it", () => new Response()],
    ["refuses it and repeats it", ({ headers }) => refuse(401, `Incorrect API key: ${headers.get("authorization")}`)],
    ["is away", ({ headers }) => fail(`connect ECONNREFUSED ${headers.get("authorization")}`)],
    ["points elsewhere", () => new Response(null, { status: 302, headers: { location: `https://evil.test/` } })],
  ])("of a guest's key when its provider, asked for it, %s", async (_, answer) => {
    const sent = standInForUpstream(answer);
    const guests = makeGuestService();
    // A key for each case: what a provider said is remembered.
    const guest = makeGuest("provider", `${PROVIDER_KEY}-${crypto.randomUUID()}`);
    await uploadAs(guests, guest, LINE);
    await createAs(guests, guest);
    expect(sent.length).toBeGreaterThan(0);
    expect(new Set(sent.map(({ url }) => new URL(url).host))).toEqual(new Set(["provider.test"]));
    expect(logged.length).toBeGreaterThan(1);
  });

  test("of messages that are no dispatches", async () => {
    await deliver([PROMPT, { batchId: "batch_0", token: "t", key: PROVIDER_KEY }]);
    expect(logged).toHaveLength(2);
  });

  test.each([
    ["ENCRYPTION_KEY", "sk-secret-of"],
    ["DEFAULT_UPSTREAM", ""],
    [
      "UPSTREAMS",
      `{"echo":{"kind":"echo"},"a":{"kind":"http","base_url":"https://a.test","api_key_secret":"${PROVIDER_KEY}"}}`,
    ],
    ["UPSTREAMS", `{"a": "${PROVIDER_KEY}"`],
    ["UPSTREAMS", `{"echo":{"kind":"http","base_url":"${PROVIDER_KEY}"}}`],
  ])("of a mistake in %s", async (name, value) => {
    const response = await app.request("/v1/files", { headers: ADMIN }, { ...env, [name]: value });
    expect(response.status).toBe(500);
    expect(() => parseSettings(new Map(Object.entries({ ...env, [name]: value })))).toThrow(name);
  });

  test("of text that could not be parsed, which the engine quotes", () => {
    try {
      JSON.parse(PROMPT);
    } catch (error) {
      logFailure("request_failed", {}, error);
    }
    expect(logged).toEqual(['{"event":"request_failed","error":"SyntaxError"}']);
  });
});

describe("a provider's own key is wiped from the coordinator", () => {
  test.each<[string, (id: string) => Promise<unknown>]>([
    ["completed", (id) => deliver(lastDispatch()).then(() => runAlarm(id))],
    [
      "cancelled",
      (id) =>
        env.COORDINATORS.getByName(id)
          .cancel()
          .then(() => runAlarm(id)),
    ],
    ["expired", (id) => expire(id)],
    ["failed", (id) => failLate(id)],
  ])("when its batch is %s, before anybody is told", async (status, end) => {
    standInForUpstream(answerCompletion);
    const id = await launchAsGuest();
    const batch = await HeldBatch.prepare().then((other) => other.with({ id }));
    expect(await batch.query("SELECT sealed_key IS NOT NULL AS sealed FROM batch")).toEqual([{ sealed: 1 }]);
    vi.spyOn(env.DB, "batch").mockRejectedValueOnce(new Error("D1 is away"));
    await end(id);
    expect(await batch.query("SELECT sealed_key FROM batch")).toEqual([{ sealed_key: null }]);
    vi.setSystemTime(Date.now() + 60_000);
    await runAlarm(id);
    expect((await send(`/v1/batches/${id}`, { headers: GUEST })).json).toMatchObject({ status });
    expect(await batch.tables()).toEqual([]);
  });

  async function expire(id: string): Promise<unknown> {
    vi.setSystemTime(Date.now() + 86_400_000);
    return runAlarm(id);
  }

  /** The input's bytes are lost while it runs. */
  async function failLate(id: string): Promise<unknown> {
    const { json } = await send(`/v1/batches/${id}`, { headers: GUEST });
    await env.BUCKET.delete(`files/${String(json?.["input_file_id"])}`);
    await deliver(lastDispatch());
    return runAlarm(id);
  }
});

function fail(message: string): never {
  throw new TypeError(message);
}

function refuse(status: number, message: string): Response {
  return Response.json({ error: { message, type: "no", code: message } }, { status });
}
