import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { fileKey } from "../../src/stores/object-keys.ts";
import { sealKey } from "../../src/stores/sealed-key.ts";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";
import {
  answerOk,
  answerStatus,
  deliver,
  deliverLast,
  type SentRequest,
  standInForUpstream,
  workToTheEnd,
} from "../support/delivery.ts";

holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

const ONE = ["message-0"];

describe("a message", () => {
  test.each([
    ["nothing", null],
    ["text", "dispatch"],
    ["an empty object", {}],
    ["no work", { kind: "scale" }],
    ["no work and more", { kind: "scale", more: true }],
    ["another kind", { kind: "other" }],
    ["a dispatch without its token", { batchId: "batch_x" }],
    ["a dispatch with a number for its token", { batchId: "batch_x", token: 1 }],
  ])("that holds %s is acknowledged and forgotten, in either queue", async (_what, body) => {
    const getByName = vi.spyOn(env.COORDINATORS, "getByName");
    expect(await deliver([body])).toEqual({ acked: ONE, retried: [] });
    expect(await deliver([body], { queue: "nightshift-dead-letters" })).toEqual({ acked: ONE, retried: [] });
    expect(getByName).not.toHaveBeenCalled();
  });

  test("of a newer version, with a field that this one does not know, is worked for", async () => {
    standInForUpstream(answerOk);
    const batch = await HeldBatch.launch();
    const body = { batchId: batch.id, token: batch.lastToken, later: true };
    expect(await deliver([body])).toEqual({ acked: ONE, retried: [] });
    expect((await batch.snapshot())?.counts.completed).toBeGreaterThan(0);
  });

  test("for a batch that nobody knows is acknowledged", async () => {
    const fetched = standInForUpstream(answerOk);
    const body = { batchId: `batch_${crypto.randomUUID()}`, token: "t" };
    expect(await deliver([body])).toEqual({ acked: ONE, retried: [] });
    expect(await deliver([body], { queue: "nightshift-dead-letters" })).toEqual({ acked: ONE, retried: [] });
    expect(fetched).toEqual([]);
  });

  test.each([
    [1, 10],
    [2, 20],
    [5, 160],
    [9, 300],
  ])("that cannot be claimed is delivered again: after try %i in %i seconds", async (attempts, delaySeconds) => {
    vi.spyOn(env.COORDINATORS, "getByName").mockImplementation(() => {
      throw new Error("the coordinator is down");
    });
    for (const queue of ["nightshift-dispatches", "nightshift-dead-letters"]) {
      expect(await deliver([{ batchId: "batch_x", token: "t" }], { queue, attempts })).toEqual({
        acked: [],
        retried: [{ id: "message-0", delaySeconds }],
      });
    }
  });

  test("is retried alone", async () => {
    const batch = await HeldBatch.launch();
    const getByName = env.COORDINATORS.getByName.bind(env.COORDINATORS);
    vi.spyOn(env.COORDINATORS, "getByName").mockImplementation((name) => {
      if (name === batch.id) return getByName(name);
      throw new Error("the coordinator is down");
    });
    const result = await deliver([
      { batchId: "batch_down", token: "t" },
      { batchId: batch.id, token: batch.lastToken },
      "nonsense",
    ]);
    expect(result.acked.toSorted()).toEqual(["message-1", "message-2"]);
    expect(result.retried).toEqual([{ id: "message-0", delaySeconds: 10 }]);
    expect(await batch.status()).toBe("finalizing");
  });
});

describe("a dispatch", () => {
  test("is worked for until there is nothing left of its batch", async () => {
    const batch = await HeldBatch.launch({ lines: 130 });
    expect(await deliverLast(batch)).toEqual({ acked: ONE, retried: [] });
    await batch.alarm();
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 130, completed: 130, failed: 0 } });
    expect(row?.usage?.totalTokens).toBeGreaterThan(0);
    const ids = (await batch.readLines(row?.outputFileId)).map((line) => line["custom_id"]);
    expect(ids).toEqual(Array.from({ length: 130 }, (_, line) => `line-${line}`));
  });

  test("delivered twice runs each line once", async () => {
    const sent = standInForUpstream(answerOk);
    const batch = await HeldBatch.launch({ lines: 5, upstream: "mock" });
    const message = { batchId: batch.id, token: batch.lastToken };
    expect((await deliver([message, message])).acked).toEqual(["message-0", "message-1"]);
    await deliver([message]);
    expect(sent.map(({ line }) => line)).toEqual([0, 1, 2, 3, 4]);
  });

  test("that is a dead letter is given up at its coordinator", async () => {
    const batch = await HeldBatch.launch();
    const message = { batchId: batch.id, token: batch.lastToken };
    expect(await deliver([message], { queue: "nightshift-dead-letters" })).toEqual({ acked: ONE, retried: [] });
    expect(await batch.claim()).toEqual({ kind: "unknown" });
    await workToTheEnd(batch);
    expect((await batch.row())?.status).toBe("completed");
  });
});

describe("slots", () => {
  test.each([1, 3, 5])("with %i lines an invocation, that many are in flight and never more", async (slots) => {
    let inFlight = 0;
    let most = 0;
    standInForUpstream(async () => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      await scheduler.wait(2);
      inFlight -= 1;
      return answerOk();
    });
    const settings = { LINES_PER_INVOCATION: String(slots) };
    const batch = await HeldBatch.launch({ lines: 24, upstream: "mock", settings });
    await workToTheEnd(batch, settings);
    expect((await batch.row())?.counts.completed).toBe(24);
    expect(most).toBe(slots);
  });
});

describe("the time of a dispatch", () => {
  test.each([
    ["that has done its hundred lines is about 45 s", { latencySeconds: 1, timeoutSeconds: 600 }, 35, 60],
    [
      "is longer with a slow upstream, for fewer lines are not worth its price",
      { latencySeconds: 4, timeoutSeconds: 600 },
      65,
      200,
    ],
    ["has an end, however slow the upstream is", { latencySeconds: 40, timeoutSeconds: 600 }, 150, 270],
    ["leaves room for the upstream's timeout", { latencySeconds: 10, timeoutSeconds: 800 }, 20, 70],
  ])("%s", async (_what, { latencySeconds, timeoutSeconds }, least, most) => {
    const mock = { kind: "http", base_url: "http://mock.test/v1", max_in_flight: 5, timeout_seconds: timeoutSeconds };
    const settings = { UPSTREAMS: JSON.stringify({ mock }), DEFAULT_UPSTREAM: "mock" };
    const startedAt: number[] = [];
    standInForUpstream(async () => {
      startedAt.push(Date.now());
      await new Promise((resolve) => setTimeout(resolve, latencySeconds * 1000));
      return answerOk();
    });
    const batch = await HeldBatch.launch({ lines: 1000, upstream: "mock", settings });
    await deliverLast(batch, { settings, stepMs: 500 });
    const lastStart = ((startedAt.at(-1) ?? 0) - (startedAt[0] ?? 0)) / 1000;
    expect(lastStart).toBeGreaterThan(least);
    expect(lastStart).toBeLessThan(most);
    expect((await batch.snapshot())?.counts.completed).toBe(startedAt.length);
  });
});

describe("what goes over the wire", () => {
  test("is the body as it stands in the file, and the answer as it came", async () => {
    const bodies = [
      '{"model":"m","messages":[],"seed":9223372036854775807,"temperature":1.0,"note":"Question 0"}',
      '{ "model" : "m" , "messages" : [ ] , "top_p" : 1e-2, "note": "Question 1 \\u00e9 é \\ud83d\\ude00" }',
    ];
    const lines = bodies.map(
      (body, index) => `{"custom_id":"line-${index}","method":"POST","url":"/v1/chat/completions","body":${body}}`,
    );
    const answer = '{"id": 9223372036854775807, "x": 1.0, "usage":{"prompt_tokens":1,"completion_tokens":1}}';
    const sent = standInForUpstream(() => new Response(answer, { headers: { "x-request-id": "req_theirs" } }));
    const batch = await HeldBatch.launch({ input: `${lines.join("\r\n")}\r\n`, upstream: "mock" });
    await workToTheEnd(batch);
    expect(sent.map(({ body }) => body)).toEqual(bodies);
    expect(sent.map(({ url }) => url)).toEqual(bodies.map(() => "http://mock.test/v1/chat/completions"));
    const row = await batch.row();
    const output = await env.BUCKET.get(fileKey(row?.outputFileId ?? "none"));
    const texts = (await output?.text())?.split("\n") ?? [];
    expect(texts).toHaveLength(3);
    for (const [index, text] of texts.slice(0, 2).entries()) {
      expect(text).toMatch(/^\{"id":"batch_req_[0-9a-f]{32}","custom_id":"line-/);
      expect(text).toContain(`"custom_id":"line-${index}"`);
      expect(text).toContain(`"response":{"status_code":200,"request_id":"req_theirs","body":${answer}},"error":null}`);
    }
  });

  test("has the configured key, or the provider's own in its place", async () => {
    const sent = standInForUpstream(answerOk);
    const configured = await HeldBatch.launch({ lines: 1, upstream: "mock" });
    await deliverLast(configured);
    const prepared = await HeldBatch.prepare({ lines: 1, upstream: "mock" });
    const own = prepared.sealed(await sealKey(env.ENCRYPTION_KEY, prepared.id, "sk-own"));
    await own.begin();
    await own.alarm();
    await deliverLast(own);
    const keys = sent.map(({ headers }) => headers.get("authorization"));
    expect(keys).toEqual(["Bearer sk-mock-upstream", "Bearer sk-own"]);
  });
});

describe("a line that fails", () => {
  test("is tried again at once where it is, when that is soon", async () => {
    const sent = standInForUpstream(({ line, tries }) => (line === 0 && tries < 3 ? answerStatus(500) : answerOk()));
    const batch = await HeldBatch.launch({ lines: 3, upstream: "mock" });
    await deliverLast(batch);
    expect(batch.tokens).toHaveLength(1);
    expect(await batch.snapshot()).toMatchObject({ status: "finalizing", counts: { completed: 3 } });
    const keys = sent.filter(({ line }) => line === 0).map(({ headers }) => headers.get("idempotency-key"));
    expect(keys).toEqual([1, 2, 3].map((attempt) => `${batch.id}-1-${attempt}`));
  });

  test("goes back with its tries and its time, when that is later", async () => {
    const sent = standInForUpstream(({ line, tries }) =>
      line === 1 && tries === 1 ? answerStatus(429, { "retry-after": "60" }) : answerOk(),
    );
    const batch = await HeldBatch.launch({ lines: 3, upstream: "mock" });
    await deliverLast(batch);
    expect(await batch.snapshot()).toMatchObject({ status: "in_progress", counts: { completed: 2 } });
    expect(sent).toHaveLength(3);
    passSeconds(30);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
    passSeconds(60);
    await batch.alarm();
    await deliverLast(batch);
    expect(await batch.snapshot()).toMatchObject({ status: "finalizing", counts: { completed: 3 } });
    expect(sent.at(-1)?.headers.get("idempotency-key")).toBe(`${batch.id}-2-2`);
  });

  test("for good is settled at once, and holds up no other", async () => {
    const sent = standInForUpstream(({ line }) => (line === 1 ? answerStatus(400) : answerOk()));
    const batch = await HeldBatch.launch({ lines: 3, upstream: "mock" });
    await workToTheEnd(batch);
    expect(sent).toHaveLength(3);
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 3, completed: 2, failed: 1 } });
    expect(await batch.readLines(row?.errorFileId)).toMatchObject([
      { custom_id: "line-1", response: { status_code: 400 }, error: { code: "no", message: "No." } },
    ]);
  });

  test("again and again while others succeed is given up after its budget of tries", async () => {
    const fails = ({ line, tries }: SentRequest) => line === 0 || (line < 9 && tries <= line);
    const sent = standInForUpstream((request) => (fails(request) ? answerStatus(500) : answerOk()));
    const batch = await HeldBatch.launch({ lines: 40, upstream: "mock" });
    await workToTheEnd(batch);
    expect(sent.filter(({ line }) => line === 0).length).toBeLessThanOrEqual(8);
    const row = await batch.row();
    expect(row).toMatchObject({ status: "completed", counts: { total: 40 } });
    expect((await batch.readLines(row?.errorFileId)).map((line) => line["custom_id"])).toContain("line-0");
  });

  test("alone, with nobody who is served, is given up after an hour", async () => {
    standInForUpstream(() => answerStatus(500));
    const batch = await HeldBatch.launch({ lines: 1, upstream: "mock" });
    const startedAt = Date.now();
    await workToTheEnd(batch, {}, 200);
    const row = await batch.row();
    expect(row?.counts).toEqual({ total: 1, completed: 0, failed: 1 });
    const minutes = ((row?.times.completedAt?.getTime() ?? 0) - startedAt) / 60_000;
    expect(minutes).toBeGreaterThan(60);
    expect(minutes).toBeLessThan(70);
  });

  test("not at all while its upstream is not in the settings, and runs when it is back", async () => {
    const batch = await HeldBatch.launch({ lines: 1, upstream: "removed" });
    expect(batch.tokens).toEqual([]);
    await batch.setSettings({ UPSTREAMS: JSON.stringify({ removed: { kind: "echo" }, echo: { kind: "echo" } }) });
    passSeconds(10);
    await batch.alarm();
    expect(batch.tokens).toHaveLength(1);
  });

  test("whose upstream is never back says so when the window is over", async () => {
    const batch = await HeldBatch.launch({ lines: 1, upstream: "removed", windowSeconds: 600 });
    await workToTheEnd(batch);
    const row = await batch.row();
    expect(row?.status).toBe("expired");
    const [line] = await batch.readLines(row?.errorFileId);
    expect(line).toMatchObject({ error: { code: "batch_expired" } });
    expect(JSON.stringify(line)).toContain("its upstream is not in the settings");
  });
});
