import { describe, expect, test } from "vitest";
import { batchOrderSchema } from "../../src/protocol/batch-order.ts";
import { parseRequest } from "../../src/protocol/refusal.ts";

const schema = batchOrderSchema(["24h", "20s", "7d"]);
const order = { input_file_id: "file-1", endpoint: "/v1/embeddings", completion_window: "24h" };
const ENDPOINTS =
  "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/images/edits', '/v1/images/generations', '/v1/moderations', '/v1/responses', and '/v1/videos'";

function makeMetadata(pairs: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: pairs }, (_, index) => [`key${index}`, "value"]));
}

describe("a batch order", () => {
  test("needs only its three required fields", () => {
    expect(parseRequest(schema, order)).toEqual({
      ok: true,
      value: {
        inputFileId: "file-1",
        endpoint: "/v1/embeddings",
        completionWindow: "24h",
        metadata: null,
        outputExpiresAfterSeconds: null,
      },
    });
  });

  test.each([
    ["metadata that is null", { metadata: null }, { metadata: null }],
    ["metadata without pairs", { metadata: {} }, { metadata: {} }],
    ["16 pairs of metadata", { metadata: makeMetadata(16) }, { metadata: makeMetadata(16) }],
    ["a key of 64 characters", { metadata: { ["k".repeat(64)]: "" } }, { metadata: { ["k".repeat(64)]: "" } }],
    ["a key of 64 emojis", { metadata: { ["🦉".repeat(64)]: "" } }, { metadata: { ["🦉".repeat(64)]: "" } }],
    ["a value of 512 characters", { metadata: { k: "v".repeat(512) } }, { metadata: { k: "v".repeat(512) } }],
    ["a value of 512 emojis", { metadata: { k: "🦉".repeat(512) } }, { metadata: { k: "🦉".repeat(512) } }],
    ["another window of the deployment", { completion_window: "7d" }, { completionWindow: "7d" }],
    ["output that expires as early as can be", expiry(3600), { outputExpiresAfterSeconds: 3600 }],
    ["output that expires as late as can be", expiry(2_592_000), { outputExpiresAfterSeconds: 2_592_000 }],
    ["output without an expiry of its own", { output_expires_after: null }, { outputExpiresAfterSeconds: null }],
    ["parameters that nobody knows", { priority: "high" }, {}],
    ["an id of 256 characters", { input_file_id: "i".repeat(256) }, { inputFileId: "i".repeat(256) }],
  ])("accepts %s", (_, change, expected) => {
    const parsed = parseRequest(schema, { ...order, ...change });
    expect(parsed).toMatchObject({ ok: true, value: expected });
  });

  test.each([
    [
      "no input file",
      { input_file_id: undefined },
      "missing_required_parameter",
      "Missing required parameter: 'input_file_id'.",
      "input_file_id",
    ],
    [
      "an input file without a name",
      { input_file_id: "" },
      "missing_required_parameter",
      "Missing required parameter: 'input_file_id'.",
      "input_file_id",
    ],
    [
      "no endpoint",
      { endpoint: undefined },
      "missing_required_parameter",
      "Missing required parameter: 'endpoint'.",
      "endpoint",
    ],
    [
      "no window",
      { completion_window: undefined },
      "missing_required_parameter",
      "Missing required parameter: 'completion_window'.",
      "completion_window",
    ],
    [
      "an input file that is a number",
      { input_file_id: 7 },
      "invalid_type",
      "Invalid type for 'input_file_id': expected a string, but got an integer instead.",
      "input_file_id",
    ],
    [
      "an input file that is null",
      { input_file_id: null },
      "invalid_type",
      "Invalid type for 'input_file_id': expected a string, but got null instead.",
      "input_file_id",
    ],
    [
      "an endpoint that is a list",
      { endpoint: ["/v1/embeddings"] },
      "invalid_type",
      "Invalid type for 'endpoint': expected a string, but got an array instead.",
      "endpoint",
    ],
    [
      "a window that is a decimal",
      { completion_window: 0.5 },
      "invalid_type",
      "Invalid type for 'completion_window': expected a string, but got a decimal instead.",
      "completion_window",
    ],
    [
      "an id of 257 characters",
      { input_file_id: "i".repeat(257) },
      "string_above_max_length",
      "Invalid 'input_file_id': string too long. Expected a string with maximum length 256, but got a string with length 257 instead.",
      "input_file_id",
    ],
    [
      "an unknown endpoint",
      { endpoint: "/v1/x" },
      "invalid_value",
      `Invalid value: '/v1/x'. Supported values are: ${ENDPOINTS}.`,
      "endpoint",
    ],
    [
      "a very long endpoint",
      { endpoint: "x".repeat(1000) },
      "invalid_value",
      `Invalid value: '${"x".repeat(100)}…'. Supported values are: ${ENDPOINTS}.`,
      "endpoint",
    ],
    [
      "an endpoint that can just be quoted",
      { endpoint: "x".repeat(100) },
      "invalid_value",
      `Invalid value: '${"x".repeat(100)}'. Supported values are: ${ENDPOINTS}.`,
      "endpoint",
    ],
    [
      "a metadata key that can just be quoted",
      { metadata: { ["k".repeat(100)]: 5 } },
      "invalid_type",
      `Invalid type for 'metadata.${"k".repeat(100)}': expected a string, but got an integer instead.`,
      `metadata.${"k".repeat(100)}`,
    ],
    [
      "a metadata key that is too long to be quoted",
      { metadata: { ["k".repeat(101)]: 5 } },
      "invalid_type",
      `Invalid type for 'metadata.${"k".repeat(100)}…': expected a string, but got an integer instead.`,
      `metadata.${"k".repeat(100)}…`,
    ],
    [
      "an unknown window",
      { completion_window: "1h" },
      "invalid_value",
      "Invalid value: '1h'. Supported values are: '20s', '24h', and '7d'.",
      "completion_window",
    ],
    [
      "metadata that is a list",
      { metadata: [] },
      "invalid_type",
      "Invalid type for 'metadata': expected an object, but got an array instead.",
      "metadata",
    ],
    [
      "metadata that is a text",
      { metadata: "k=v" },
      "invalid_type",
      "Invalid type for 'metadata': expected an object, but got a string instead.",
      "metadata",
    ],
    [
      "a metadata value that is a list",
      { metadata: { tags: ["a"] } },
      "invalid_type",
      "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
      "metadata.tags",
    ],
    [
      "a metadata value that is a boolean",
      { metadata: { urgent: true } },
      "invalid_type",
      "Invalid type for 'metadata.urgent': expected a string, but got a boolean instead.",
      "metadata.urgent",
    ],
    [
      "17 pairs of metadata",
      { metadata: makeMetadata(17) },
      "object_above_max_properties",
      "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead.",
      "metadata",
    ],
    [
      "a key of 65 characters",
      { metadata: { ["k".repeat(65)]: "" } },
      "property_name_above_max_length",
      "Invalid 'metadata': property name too long. Expected a property name with maximum length 64, but got a property name with length 65 instead.",
      "metadata",
    ],
    [
      "a value of 513 characters",
      { metadata: { k: "v".repeat(513) } },
      "string_above_max_length",
      "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
      "metadata.k",
    ],
    [
      "an expiry that is a number",
      { output_expires_after: 3600 },
      "invalid_type",
      "Invalid type for 'output_expires_after': expected an object, but got an integer instead.",
      "output_expires_after",
    ],
    [
      "an expiry without an anchor",
      { output_expires_after: { seconds: 3600 } },
      "missing_required_parameter",
      "Missing required parameter: 'output_expires_after.anchor'.",
      "output_expires_after.anchor",
    ],
    [
      "an expiry without seconds",
      { output_expires_after: { anchor: "created_at" } },
      "missing_required_parameter",
      "Missing required parameter: 'output_expires_after.seconds'.",
      "output_expires_after.seconds",
    ],
    [
      "an expiry with another anchor",
      { output_expires_after: { anchor: "completed_at", seconds: 3600 } },
      "invalid_value",
      "Invalid value: 'completed_at'. Supported values are: 'created_at'.",
      "output_expires_after.anchor",
    ],
    [
      "an expiry that comes a second too early",
      expiry(3599),
      "integer_below_min_value",
      "Invalid 'output_expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 3599 instead.",
      "output_expires_after.seconds",
    ],
    [
      "an expiry that comes a second too late",
      expiry(2_592_001),
      "integer_above_max_value",
      "Invalid 'output_expires_after.seconds': integer above maximum value. Expected a value <= 2592000, but got 2592001 instead.",
      "output_expires_after.seconds",
    ],
    [
      "an expiry of half seconds",
      expiry(3600.5),
      "invalid_type",
      "Invalid type for 'output_expires_after.seconds': expected an integer, but got a decimal instead.",
      "output_expires_after.seconds",
    ],
    [
      "an expiry in words",
      expiry("3600"),
      "invalid_type",
      "Invalid type for 'output_expires_after.seconds': expected an integer, but got a string instead.",
      "output_expires_after.seconds",
    ],
  ])("refuses %s", (_, change, code, message, param) => {
    expect(parseRequest(schema, { ...order, ...change })).toEqual({ ok: false, reason: { code, message, param } });
  });

  test.each([
    ["a list", [], "an array"],
    ["a text", "order", "a string"],
    ["null", null, "null"],
    ["a number", 1e300, "an integer"],
  ])("is an object, not %s", (_, body, got) => {
    expect(parseRequest(schema, body)).toEqual({
      ok: false,
      reason: {
        code: "invalid_type",
        message: `Invalid type: expected an object, but got ${got} instead.`,
        param: null,
      },
    });
  });

  test("names the first of several problems, in the order of the documentation", () => {
    const refused = parseRequest(schema, { metadata: 1, endpoint: "/v1/x" });
    expect(refused).toMatchObject({ ok: false, reason: { param: "input_file_id" } });
  });

  test("lists one and two supported values without commas", () => {
    const one = parseRequest(batchOrderSchema(["24h"]), { ...order, completion_window: "1h" });
    const two = parseRequest(batchOrderSchema(["24h", "20s"]), { ...order, completion_window: "1h" });
    expect(one).toMatchObject({ reason: { message: "Invalid value: '1h'. Supported values are: '24h'." } });
    expect(two).toMatchObject({ reason: { message: "Invalid value: '1h'. Supported values are: '20s' and '24h'." } });
  });
});

function expiry(seconds: unknown) {
  return { output_expires_after: { anchor: "created_at", seconds } };
}
