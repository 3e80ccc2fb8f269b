import { describe, expect, test } from "vitest";
import type { FileRecord } from "../../src/domain/file.ts";
import { fileForm, fileListQuery, toDeletedFile, toFileObject } from "../../src/protocol/file.ts";
import { parseRequest } from "../../src/protocol/refusal.ts";

const record: FileRecord = {
  id: "file-1",
  tenant: "org-secret",
  purpose: "batch",
  filename: "a.jsonl",
  bytes: 12,
  createdAt: new Date(1_700_000_000_999),
  expiresAt: null,
};
const PURPOSES = "'assistants', 'batch', 'evals', 'fine-tune', 'user_data', and 'vision'";

describe("the file object", () => {
  test("has every documented key, and no other", () => {
    expect(toFileObject(record)).toStrictEqual({
      id: "file-1",
      object: "file",
      bytes: 12,
      created_at: 1_700_000_000,
      expires_at: null,
      filename: "a.jsonl",
      purpose: "batch",
      status: "processed",
      status_details: null,
    });
  });

  test("says when it expires", () => {
    expect(toFileObject({ ...record, expiresAt: new Date(1_700_003_600_999) }).expires_at).toBe(1_700_003_600);
  });

  test("leaves its id when it is deleted", () => {
    expect(toDeletedFile("file-1")).toStrictEqual({ id: "file-1", object: "file", deleted: true });
  });
});

describe("the form of an upload", () => {
  test.each([
    [{ purpose: "batch" }, { purpose: "batch", expiresAfterSeconds: 2_592_000 }],
    [{ purpose: "user_data" }, { purpose: "user_data", expiresAfterSeconds: null }],
    [expiring("batch", "3600"), { purpose: "batch", expiresAfterSeconds: 3600 }],
    [expiring("vision", "2592000"), { purpose: "vision", expiresAfterSeconds: 2_592_000 }],
    [
      { purpose: "evals", colour: "blue" },
      { purpose: "evals", expiresAfterSeconds: null },
    ],
  ])("%j means %j", (fields, expected) => {
    expect(parseRequest(fileForm, fields)).toEqual({ ok: true, value: expected });
  });

  test.each([
    [{}, "missing_required_parameter", "Missing required parameter: 'purpose'.", "purpose"],
    [{ purpose: "" }, "invalid_value", `Invalid value: ''. Supported values are: ${PURPOSES}.`, "purpose"],
    [
      { purpose: "batch_output" },
      "invalid_value",
      `Invalid value: 'batch_output'. Supported values are: ${PURPOSES}.`,
      "purpose",
    ],
    [
      { purpose: "batch", "expires_after[anchor]": "created_at" },
      "missing_required_parameter",
      "Missing required parameter: 'expires_after[seconds]'.",
      "expires_after[seconds]",
    ],
    [
      { purpose: "batch", "expires_after[seconds]": "3600" },
      "missing_required_parameter",
      "Missing required parameter: 'expires_after[anchor]'.",
      "expires_after[anchor]",
    ],
    [
      { ...expiring("batch", "3600"), "expires_after[anchor]": "now" },
      "invalid_value",
      "Invalid value: 'now'. Supported values are: 'created_at'.",
      "expires_after[anchor]",
    ],
    [
      expiring("batch", "3599"),
      "integer_below_min_value",
      "Invalid 'expires_after[seconds]': integer below minimum value. Expected a value >= 3600, but got 3599 instead.",
      "expires_after[seconds]",
    ],
    [
      expiring("batch", "2592001"),
      "integer_above_max_value",
      "Invalid 'expires_after[seconds]': integer above maximum value. Expected a value <= 2592000, but got 2592001 instead.",
      "expires_after[seconds]",
    ],
    [
      expiring("batch", "soon"),
      "invalid_type",
      "Invalid type for 'expires_after[seconds]': expected an integer, but got a string instead.",
      "expires_after[seconds]",
    ],
  ])("%j is refused", (fields, code, message, param) => {
    expect(parseRequest(fileForm, fields)).toEqual({ ok: false, reason: { code, message, param } });
  });
});

describe("the query of the list of files", () => {
  test.each([
    [{}, { limit: 10_000, order: "desc" }],
    [
      { limit: "1", order: "asc" },
      { limit: 1, order: "asc" },
    ],
    [
      { limit: "10000", purpose: "batch", after: "file-1" },
      { limit: 10_000, order: "desc", purpose: "batch", after: "file-1" },
    ],
  ])("%j asks for %j", (query, expected) => {
    expect(parseRequest(fileListQuery, query)).toEqual({ ok: true, value: expected });
  });

  test.each([
    [{ limit: "0" }, "integer_below_min_value", "limit"],
    [{ limit: "10001" }, "integer_above_max_value", "limit"],
    [{ limit: "all" }, "invalid_type", "limit"],
    [{ order: "newest" }, "invalid_value", "order"],
  ])("%j is refused", (query, code, param) => {
    expect(parseRequest(fileListQuery, query)).toMatchObject({ ok: false, reason: { code, param } });
  });
});

function expiring(purpose: string, seconds: string) {
  return { purpose, "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds };
}
