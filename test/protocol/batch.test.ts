import { describe, expect, test } from "vitest";
import { batchListQuery, toBatch } from "../../src/protocol/batch.ts";
import { toPage } from "../../src/protocol/list.ts";
import { parseRequest } from "../../src/protocol/refusal.ts";
import { aBatch } from "../support/batch-record.ts";

const record = aBatch({
  id: "batch_1",
  tenant: "org-secret",
  endpoint: "/v1/embeddings",
  createdAt: new Date(1_700_000_000_999),
});

describe("the batch object", () => {
  test("has every documented key from the first moment, and no other", () => {
    expect(toBatch(record)).toStrictEqual({
      id: "batch_1",
      object: "batch",
      endpoint: "/v1/embeddings",
      model: null,
      errors: null,
      input_file_id: "file-1",
      completion_window: "24h",
      status: "validating",
      output_file_id: null,
      error_file_id: null,
      created_at: 1_700_000_000,
      in_progress_at: null,
      expires_at: 1_700_086_400,
      finalizing_at: null,
      completed_at: null,
      failed_at: null,
      expired_at: null,
      cancelling_at: null,
      cancelled_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      usage: null,
      metadata: null,
    });
  });

  test("says all that is known of a finished batch", () => {
    const finished = toBatch({
      ...record,
      status: "completed",
      model: "m",
      metadata: { a: "b" },
      usage: { inputTokens: 5, cachedTokens: 1, outputTokens: 3, reasoningTokens: 2, totalTokens: 8 },
      outputFileId: "file-o",
      errorFileId: "file-e",
      counts: { total: 3, completed: 2, failed: 1 },
      times: {
        inProgressAt: at(1),
        finalizingAt: at(2),
        completedAt: at(3),
        failedAt: at(4),
        expiredAt: at(5),
        cancellingAt: at(6),
        cancelledAt: at(7),
      },
    });
    expect(finished).toMatchObject({
      status: "completed",
      model: "m",
      metadata: { a: "b" },
      usage: {
        input_tokens: 5,
        input_tokens_details: { cached_tokens: 1 },
        output_tokens: 3,
        output_tokens_details: { reasoning_tokens: 2 },
        total_tokens: 8,
      },
      output_file_id: "file-o",
      error_file_id: "file-e",
      request_counts: { total: 3, completed: 2, failed: 1 },
      in_progress_at: 1,
      finalizing_at: 2,
      completed_at: 3,
      failed_at: 4,
      expired_at: 5,
      cancelling_at: 6,
      cancelled_at: 7,
    });
  });

  test("lists why its input was refused", () => {
    const problem = { code: "invalid_url", message: "No.", param: "url", line: 3 };
    expect(toBatch({ ...record, status: "failed", errors: [problem] }).errors).toStrictEqual({
      object: "list",
      data: [problem],
    });
  });
});

describe("the query of the list of batches", () => {
  test.each([
    [{}, { limit: 20 }],
    [{ limit: "1" }, { limit: 1 }],
    [
      { limit: "100", after: "batch_1" },
      { limit: 100, after: "batch_1" },
    ],
  ])("%j asks for %j", (query, expected) => {
    expect(parseRequest(batchListQuery, query)).toEqual({ ok: true, value: expected });
  });

  test.each([
    ["0", "integer_below_min_value", "integer below minimum value. Expected a value >= 1, but got 0 instead."],
    ["-1", "integer_below_min_value", "integer below minimum value. Expected a value >= 1, but got -1 instead."],
    ["101", "integer_above_max_value", "integer above maximum value. Expected a value <= 100, but got 101 instead."],
  ])("refuses a limit of %s", (limit, code, message) => {
    expect(parseRequest(batchListQuery, { limit })).toEqual({
      ok: false,
      reason: { code, message: `Invalid 'limit': ${message}`, param: "limit" },
    });
  });

  test.each(["", "ten", "1.5", "1e1", " 1", "0x10", "9".repeat(40)])("refuses a limit of '%s'", (limit) => {
    expect(parseRequest(batchListQuery, { limit })).toEqual({
      ok: false,
      reason: {
        code: "invalid_type",
        message: "Invalid type for 'limit': expected an integer, but got a string instead.",
        param: "limit",
      },
    });
  });
});

describe("a page", () => {
  const items = [{ id: "c" }, { id: "b" }, { id: "a" }];

  test.each([
    ["nothing", [], false, null, null],
    ["one", items.slice(0, 1), false, "c", "c"],
    ["some with more behind them", items, true, "c", "a"],
  ])("of %s", (_, found, hasMore, firstId, lastId) => {
    expect(toPage(found, hasMore)).toStrictEqual({
      object: "list",
      data: found,
      first_id: firstId,
      last_id: lastId,
      has_more: hasMore,
    });
  });
});

function at(seconds: number): Date {
  return new Date(seconds * 1000);
}
