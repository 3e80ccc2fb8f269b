/** Whole batches against a real `wrangler dev`: each line's fate, early ends, refused input, bytes. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DELICATE_NUMBERS } from "./fake-upstream.ts";
import {
  chatLine,
  CONFIGURED_UPSTREAM_KEY,
  createBatch,
  MAX_IN_FLIGHT,
  type Nightshift,
  readResults,
  readText,
  startNightshift,
  waitForBatch,
  waitUntil,
} from "./nightshift.ts";

const SHORT_WINDOW_SECONDS = 6;

describe("a batch", () => {
  let nightshift: Nightshift;

  beforeAll(async () => {
    nightshift = await startNightshift({ COMPLETION_WINDOWS: `24h,${SHORT_WINDOW_SECONDS}s` });
  });

  afterAll(() => nightshift.stop());

  test("of 2,000 lines settles each as its upstream says, whatever went wrong on the way", async () => {
    const { client, upstream } = nightshift;
    const fates = Array.from({ length: 2000 }, (_, index) => ({ line: `big-${index}`, ...fateOf(index) }));
    const created = await createBatch(
      client,
      fates.map(({ line, statuses }) => chatLine({ line, statuses })),
    );
    expect(created).toMatchObject({ object: "batch", status: "validating", request_counts: { total: 0 } });

    const batch = await waitForBatch(client, created.id);

    expect(batch).toMatchObject({ status: "completed", model: "m", errors: null });
    expect(batch.request_counts).toEqual({ total: 2000, completed: 1980, failed: 20 });
    expect(batch.usage).toMatchObject({ input_tokens: 3 * 1980, output_tokens: 2 * 1980, total_tokens: 5 * 1980 });
    const output = await readResults(client, batch.output_file_id);
    const errors = await readResults(client, batch.error_file_id);
    expect(output.map((line) => line.custom_id)).toEqual(fates.filter((fate) => fate.succeeds).map(({ line }) => line));
    expect(errors.map((line) => line.custom_id)).toEqual(
      fates.filter((fate) => !fate.succeeds).map(({ line }) => line),
    );
    expect(new Set([...output, ...errors].map((line) => line.id)).size).toBe(2000);
    for (const { custom_id: line, response, error } of output) {
      expect(error).toBeNull();
      expect(response).toMatchObject({ status_code: 200, body: { id: `chatcmpl-${line}` } });
    }
    for (const { custom_id: line, response, error } of errors) {
      expect(error).toEqual({ code: "scripted", message: "scripted 400" });
      expect(response).toMatchObject({ status_code: 400, request_id: `req-${line}-1` });
    }
    expect(upstream.countCalls("big-")).toEqual(new Map(fates.map(({ line, calls }) => [line, calls])));
    expect(upstream.mostInFlight()).toBeLessThanOrEqual(MAX_IN_FLIGHT);
  });

  test("that is cancelled lets what is in flight finish and starts nothing more", async () => {
    const { client, upstream } = nightshift;
    const lines = Array.from({ length: 300 }, (_, index) => `cancel-${index}`);
    const created = await createBatch(
      client,
      lines.map((line, index) => chatLine({ line, isHeld: index >= 40 })),
    );
    await waitForBatch(client, created.id, ({ request_counts: counts }) => (counts?.completed ?? 0) > 0);
    await waitUntil(() => upstream.inFlight() > 0);

    const cancelling = await client.batches.cancel(created.id);
    expect(cancelling).toMatchObject({ status: "cancelling", cancelling_at: expect.any(Number) as number });
    await expect(client.batches.cancel(created.id)).resolves.toMatchObject({ status: "cancelling" });
    upstream.release();
    const batch = await waitForBatch(client, created.id);

    expect(batch).toMatchObject({ status: "cancelled", cancelled_at: expect.any(Number) as number });
    const output = await readResults(client, batch.output_file_id);
    const errors = await readResults(client, batch.error_file_id);
    const executed = upstream.countCalls("cancel-");
    expect(executed.size).toBeLessThan(lines.length);
    expect(output.map((line) => line.custom_id)).toEqual(lines.filter((line) => executed.has(line)));
    expect(errors.map((line) => line.custom_id)).toEqual(lines.filter((line) => !executed.has(line)));
    for (const line of errors) {
      expect(line).toMatchObject({ response: null, error: { code: "batch_cancelled" } });
    }
    expect(batch.request_counts).toEqual({ total: 300, completed: executed.size, failed: 0 });
  });

  test("whose window runs out keeps what was finished and says which lines were not executed", async () => {
    const own = await startNightshift({ COMPLETION_WINDOWS: `24h,${SHORT_WINDOW_SECONDS}s` });
    try {
      const lines = Array.from({ length: 200 }, (_, index) => `late-${index}`);
      const created = await createBatch(
        own.client,
        lines.map((line, index) => chatLine({ line, isHeld: index >= 20 })),
        `${SHORT_WINDOW_SECONDS}s`,
      );
      const expiresAt = created.expires_at ?? 0;
      expect(expiresAt).toBe(created.created_at + SHORT_WINDOW_SECONDS);
      // Seconds on the wire are cut off: the window itself ends up to a second later.
      await waitUntil(() => Date.now() >= (expiresAt + 1) * 1000);
      own.upstream.release();
      const batch = await waitForBatch(own.client, created.id);

      expect(batch).toMatchObject({ status: "expired", expired_at: expect.any(Number) as number });
      const output = await readResults(own.client, batch.output_file_id);
      const errors = await readResults(own.client, batch.error_file_id);
      const executed = own.upstream.countCalls("late-");
      expect(executed.size).toBeLessThan(lines.length);
      expect(output.map((line) => line.custom_id)).toEqual(lines.filter((line) => executed.has(line)));
      expect(errors.map((line) => line.custom_id)).toEqual(lines.filter((line) => !executed.has(line)));
      for (const line of errors) {
        expect(line).toMatchObject({ response: null, error: { code: "batch_expired" } });
      }
    } finally {
      await own.stop();
    }
  });

  test("with a broken file fails with every bad line named, and sends nothing", async () => {
    const { client, upstream } = nightshift;
    const good = JSON.parse(chatLine({ line: "broken-1" })) as Record<string, unknown>;
    const body = good["body"] as Record<string, unknown>;
    const created = await createBatch(client, [
      JSON.stringify(good),
      "{not json",
      "[1,2]",
      JSON.stringify({ ...good, custom_id: undefined }),
      JSON.stringify({ ...good, custom_id: 6 }),
      JSON.stringify({ ...good, custom_id: "a", method: "GET" }),
      JSON.stringify({ ...good, custom_id: "b", url: "/v1/embeddings" }),
      JSON.stringify(good),
      JSON.stringify({ ...good, custom_id: "c", body: { ...body, stream: true } }),
      JSON.stringify({ ...good, custom_id: "d", body: { ...body, model: undefined } }),
      JSON.stringify({ ...good, custom_id: "e", body: { ...body, messages: undefined } }),
      JSON.stringify({ ...good, custom_id: "f", body: "none" }),
    ]);

    const batch = await waitForBatch(client, created.id);

    expect(batch).toMatchObject({ status: "failed", output_file_id: null, error_file_id: null });
    const found = batch.errors?.data?.map(({ line, code, param }) => ({ line, code, param }));
    expect(found).toEqual([
      { line: 2, code: "invalid_json_line", param: null },
      { line: 3, code: "invalid_json_line", param: null },
      { line: 4, code: "missing_required_parameter", param: "custom_id" },
      { line: 5, code: "invalid_type", param: "custom_id" },
      { line: 6, code: "invalid_method", param: "method" },
      { line: 7, code: "invalid_url", param: "url" },
      { line: 8, code: "duplicate_custom_id", param: "custom_id" },
      { line: 9, code: "streaming_unsupported", param: "body.stream" },
      { line: 10, code: "invalid_request", param: "body.model" },
      { line: 11, code: "invalid_request", param: "body.messages" },
      { line: 12, code: "invalid_type", param: "body" },
    ]);
    expect(upstream.countCalls("broken-").size).toBe(0);
  });

  test("keeps the bytes of bodies in both directions", async () => {
    const { client, upstream } = nightshift;
    const body =
      '{"model":"m", "messages":[{"role":"user","content":"\\u00e9\\ud83e\\udd89"}], "seed": 9223372036854775807,"temperature":1.0,"script":{"line":"bytes-1"}}';
    const created = await createBatch(client, [
      `{"custom_id":"bytes-1","method":"POST","url":"/v1/chat/completions","body":${body}}`,
    ]);

    const batch = await waitForBatch(client, created.id);

    const request = upstream.received.find(({ line }) => line === "bytes-1");
    expect(request).toMatchObject({
      path: "/v1/chat/completions",
      authorization: `Bearer ${CONFIGURED_UPSTREAM_KEY}`,
      body,
    });
    await expect(readText(client, batch.output_file_id)).resolves.toContain(DELICATE_NUMBERS);
  });
});

interface Fate {
  readonly statuses: readonly number[];
  readonly calls: number;
  readonly succeeds: boolean;
}

/** 3 % of the lines meet a 429, 2 % a 500, and 1 % are refused for good. */
function fateOf(index: number): Fate {
  const percent = index % 100;
  if (percent < 3) return { statuses: [429, 200], calls: 2, succeeds: true };
  if (percent < 5) return { statuses: [500, 200], calls: 2, succeeds: true };
  if (percent < 6) return { statuses: [400], calls: 1, succeeds: false };
  return { statuses: [200], calls: 1, succeeds: true };
}
