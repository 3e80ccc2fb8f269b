import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { ADMIN, envelope, send, STRANGER, uploadText } from "../support/service.ts";

const NO_KEY = envelope({
  message:
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
});
const WRONG_KEY = envelope({ code: "invalid_api_key", message: "Incorrect API key provided." });

/** The app under other settings; the stores are the real ones. */
async function sendTo(settings: Readonly<Record<string, unknown>>, headers: Readonly<Record<string, string>>) {
  const response = await app.request("/v1/files", { headers }, { ...env, ...settings });
  return { status: response.status, json: await response.json() };
}

describe("a caller", () => {
  test.each([
    ["no header", {}, NO_KEY],
    ["an empty header", { authorization: "" }, NO_KEY],
    ["an empty key", { authorization: "Bearer " }, NO_KEY],
    ["another scheme", { authorization: "Basic c2stdGVzdDo=" }, NO_KEY],
    ["two keys", { authorization: "Bearer sk-test sk-test" }, NO_KEY],
    ["another key", { authorization: "Bearer sk-tes" }, WRONG_KEY],
    ["a longer key", { authorization: "Bearer sk-test1" }, WRONG_KEY],
    ["a key in other letters", { authorization: "Bearer SK-TEST" }, WRONG_KEY],
    [
      "a key for an upstream that takes none",
      { authorization: "Bearer sk-x", "x-portkey-provider": "echo" },
      WRONG_KEY,
    ],
    [
      "a key for an upstream that nobody knows",
      { authorization: "Bearer sk-x", "x-portkey-provider": "openai" },
      WRONG_KEY,
    ],
  ])("with %s is refused everywhere", async (_, headers, expected) => {
    for (const [path, method] of [
      ["/v1/files", "GET"],
      ["/v1/files", "POST"],
      ["/v1/files/file-0/content", "GET"],
      ["/v1/files/file-0", "DELETE"],
      ["/v1/batches", "POST"],
      ["/v1/batches/batch_0", "GET"],
      ["/v1/batches/batch_0/cancel", "POST"],
    ] as const) {
      const answer = await send(path, { method, headers });
      expect([answer.status, answer.json]).toEqual([401, expected]);
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
      expect(answer.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
    }
  });

  test.each([
    ["the key", ADMIN],
    ["the key under a lower-case scheme", { authorization: "bearer sk-test" }],
    ["the key and an upstream", { ...ADMIN, "x-portkey-provider": "mock" }],
    ["the key and no upstream", { ...ADMIN, "x-portkey-provider": "nonsense" }],
    ["a provider's key", STRANGER],
    ["a provider's key for an upstream without one", { ...STRANGER, "x-portkey-provider": "mock-open" }],
  ])("with %s is let in", async (_, headers) => {
    expect((await send("/v1/files", { headers })).status).toBe(200);
  });

  test("without a body that was sent still gets the answer", async () => {
    const body = new Uint8Array(5_000_000);
    const answer = await send("/v1/files", { method: "POST", body, headers: {} });
    expect([answer.status, answer.json]).toEqual([401, NO_KEY]);
  });

  test("is a tenant by provider and key together, under a name that gives neither away", async () => {
    const id = await uploadText("{}", STRANGER);
    const tenant = await env.DB.prepare("SELECT tenant FROM files WHERE id = ?1").bind(id).first<string>("tenant");
    expect(tenant).toMatch(/^org-[0-9a-f]{64}$/);
    expect((await send(`/v1/files/${id}`, { headers: STRANGER })).status).toBe(200);
    for (const headers of [
      { ...STRANGER, "x-portkey-provider": "mock-open" },
      { ...STRANGER, authorization: "Bearer sk-other" },
      ADMIN,
    ]) {
      expect((await send(`/v1/files/${id}`, { headers })).status).toBe(404);
    }
  });

  test("with a provider's key is refused where pass-through is off", async () => {
    expect(await sendTo({ PASS_THROUGH: "false" }, STRANGER)).toEqual({ status: 401, json: WRONG_KEY });
    expect((await sendTo({ PASS_THROUGH: "false" }, ADMIN)).status).toBe(200);
  });
});

describe("a mistake in the settings", () => {
  test.each([
    ["ADMIN_API_KEY", undefined],
    ["DEFAULT_UPSTREAM", "nowhere"],
    ["UPSTREAMS", "{"],
    ["ENCRYPTION_KEY", "short"],
  ])("of %s is told to the operator, not to the client", async (key, value) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { status, json } = await sendTo({ [key]: value }, ADMIN);
    expect([status, json]).toEqual([500, envelope({ message: "The server is misconfigured.", type: "server_error" })]);
    expect(logged.mock.calls.join()).toContain(key);
    logged.mockRestore();
  });
});

describe("a request", () => {
  test.each([
    ["GET", "/", "GET /"],
    ["GET", "/v1/models", "GET /v1/models"],
    ["POST", "/v1/chat/completions", "POST /v1/chat/completions"],
    ["GET", "/v1/files/file-0/nothing", "GET /v1/files/file-0/nothing"],
    ["POST", "/v1/batches/batch_0/cancel/again", "POST /v1/batches/batch_0/cancel/again"],
    ["GET", `/${"x".repeat(99)}`, `GET /${"x".repeat(99)}`],
    ["GET", `/${"x".repeat(100)}`, `GET /${"x".repeat(99)}…`],
  ])("%s %s has no route", async (method, path, shown) => {
    const { status, headers, json } = await send(path, { method });
    expect([status, json]).toEqual([404, envelope({ message: `Invalid URL (${shown})` })]);
    expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
  });

  test.each([
    ["DELETE", "/v1/files", "GET, POST"],
    ["POST", "/v1/files/file-0", "GET, DELETE"],
    ["PUT", "/v1/files/file-0/content", "GET"],
    ["DELETE", "/v1/batches", "GET, POST"],
    ["DELETE", "/v1/batches/batch_0", "GET"],
    ["GET", "/v1/batches/batch_0/cancel", "POST"],
    ["POST", "/healthz", "GET"],
  ])("may not %s %s", async (method, path, allowed) => {
    const { status, headers, json } = await send(path, { method });
    expect([status, json]).toEqual([
      405,
      envelope({ code: "method_not_supported", message: `Not allowed to ${method} on ${path}.` }),
    ]);
    expect(headers.get("allow")).toBe(allowed);
  });

  test("leaves one line in the log that tells no secrets", async () => {
    const logged = vi.spyOn(console, "log").mockImplementation(() => undefined);
    const id = await uploadText('{"prompt":"secret words"}', STRANGER);
    const lines = logged.mock.calls.map(([line]) => JSON.parse(String(line)) as Record<string, unknown>);
    logged.mockRestore();
    expect(lines).toEqual([
      {
        event: "request",
        method: "POST",
        route: "/v1/files",
        status: 200,
        ms: expect.any(Number) as unknown,
        code: null,
        request: expect.stringMatching(/^req_/) as unknown,
        tenant: expect.stringMatching(/^org-[0-9a-f]{64}$/) as unknown,
        batch: null,
        file: id,
      },
    ]);
  });
});
