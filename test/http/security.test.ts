import { env } from "cloudflare:workers";
import { runDurableObjectAlarm } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { ADMIN, type Answered, send, STRANGER, upload, uploadText, writeForm } from "../support/service.ts";

const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n';
const UNKNOWN_FILE = `file-${"0".repeat(32)}`;
const UNKNOWN_BATCH = `batch_${"0".repeat(32)}`;

/** Every route that needs a key; those with an id take it from the file or the batch at hand. */
const ROUTES = [
  ["GET", "/v1/files"],
  ["POST", "/v1/files"],
  ["PUT", "/v1/files"],
  ["GET", "/v1/files/FILE"],
  ["DELETE", "/v1/files/FILE"],
  ["PATCH", "/v1/files/FILE"],
  ["GET", "/v1/files/FILE/content"],
  ["POST", "/v1/files/FILE/content"],
  ["GET", "/v1/files?after=FILE"],
  ["GET", "/v1/batches"],
  ["POST", "/v1/batches"],
  ["GET", "/v1/batches/BATCH"],
  ["POST", "/v1/batches/BATCH/cancel"],
  ["GET", "/v1/batches?after=BATCH"],
  ["GET", "/v1/files/FILE/nothing"],
  ["GET", "/v1/batches/BATCH/nothing"],
] as const;

const ROUTES_BY_ID = ROUTES.filter(
  ([method, path]) =>
    /FILE|BATCH/.test(path) &&
    !/nothing/.test(path) &&
    method !== "PATCH" &&
    !(method === "POST" && path.endsWith("content")),
);

const NOBODIES = [
  ["no key", {}],
  ["an empty key", { authorization: "Bearer " }],
  ["a wrong key", { authorization: "Bearer sk-tesT" }],
  ["the key without its scheme", { authorization: "sk-test" }],
  ["the key under another scheme", { authorization: "Basic sk-test" }],
  ["the key and more", { authorization: "Bearer sk-test, Bearer sk-test" }],
  ["the key in another header", { "x-api-key": "sk-test", "api-key": "sk-test", cookie: "authorization=sk-test" }],
  ["a wrong key for an upstream that nobody knows", { authorization: "Bearer sk-x", "x-portkey-provider": "openai" }],
  ["a wrong key for an upstream that takes none", { authorization: "Bearer sk-x", "x-portkey-provider": "echo" }],
  ["a key that cannot be sent to its upstream", { authorization: "Bearer sk-\u00FC", "x-portkey-provider": "mock" }],
  ["a wrong key for two upstreams", { authorization: "Bearer sk-x", "x-portkey-provider": "mock, mock-open" }],
  ["a wrong key for a property of every object", { authorization: "Bearer sk-x", "x-portkey-provider": "__proto__" }],
] as const;

// Batches stay where they are, and nothing is sent anywhere.
holdClockAndQueue();

function create(inputFileId: string, headers: Readonly<Record<string, string>> = ADMIN): Promise<Answered> {
  const body = { input_file_id: inputFileId, endpoint: "/v1/embeddings", completion_window: "24h" };
  return send("/v1/batches", { method: "POST", body: JSON.stringify(body), headers });
}

/** A file and a batch of the deployment's own tenant. It lives. */
async function makeOwned(): Promise<{ readonly file: string; readonly batch: string }> {
  const file = await uploadText(LINE);
  const created = await create(file, { ...ADMIN, "x-portkey-provider": "mock-open" });
  return { file, batch: String(created.json?.["id"]) };
}

/** What a caller can tell replies apart by, but for the ids that it sent itself and the request's. */
function appearance({ status, headers, text }: Answered, ids: readonly string[]) {
  const shown = [...headers].filter(([name]) => name !== "x-request-id" && name !== "content-length");
  return { status, headers: shown, text: ids.reduce((rest, id) => rest.replaceAll(id, "ID"), text) };
}

describe("without a key of this deployment", () => {
  test.each(NOBODIES)("with %s every route answers 401, the same whether a thing exists or not", async (_, headers) => {
    const owned = await makeOwned();
    for (const [method, path] of ROUTES) {
      const ask = (file: string, batch: string) =>
        send(path.replace("FILE", file).replace("BATCH", batch), { method, headers });
      const there = appearance(await ask(owned.file, owned.batch), []);
      const nowhere = appearance(await ask(UNKNOWN_FILE, UNKNOWN_BATCH), []);
      expect([path, there.status]).toEqual([path, 401]);
      expect(there).toEqual(nowhere);
      expect(there.text).not.toMatch(/mock|echo|listed/);
    }
    expect((await send(`/v1/files/${owned.file}`)).status).toBe(200);
    expect((await send(`/v1/batches/${owned.batch}`)).json).toMatchObject({ cancelling_at: null });
  });
});

describe("another tenant", () => {
  test.each([
    ["a provider's key", STRANGER],
    ["the deployment's own upstream key", { ...STRANGER, authorization: "Bearer sk-mock-upstream" }],
  ])("with %s cannot tell what is not its own from what does not exist", async (_, headers) => {
    const owned = await makeOwned();
    for (const [method, path] of ROUTES_BY_ID) {
      const ask = (file: string, batch: string) =>
        send(path.replace("FILE", file).replace("BATCH", batch), { method, headers });
      const theirs = appearance(await ask(owned.file, owned.batch), [owned.file, owned.batch]);
      const nowhere = appearance(await ask(UNKNOWN_FILE, UNKNOWN_BATCH), [UNKNOWN_FILE, UNKNOWN_BATCH]);
      expect([path, theirs.status]).toEqual([path, 404]);
      expect(theirs).toEqual(nowhere);
    }
    expect((await send(`/v1/files/${owned.file}`)).status).toBe(200);
  });

  test("cannot see them in its lists", async () => {
    await makeOwned();
    const headers = { ...STRANGER, authorization: `Bearer ${crypto.randomUUID()}` };
    expect((await send("/v1/files", { headers })).json).toMatchObject({ data: [] });
    expect((await send("/v1/batches", { headers })).json).toMatchObject({ data: [] });
  });

  test("can neither run another's file nor learn of it", async () => {
    const { file } = await makeOwned();
    const orders = [await create(file, STRANGER), await create(UNKNOWN_FILE, STRANGER)];
    const failed = await Promise.all(orders.map(({ json }) => readErrors(String(json?.["id"]))));
    expect(failed[0]?.replaceAll(file, "ID")).toBe(failed[1]?.replaceAll(UNKNOWN_FILE, "ID"));
  });

  /** Those with which the batch failed. */
  async function readErrors(id: string): Promise<string> {
    expect(await runDurableObjectAlarm(env.COORDINATORS.getByName(id))).toBe(true);
    const { json } = await send(`/v1/batches/${id}`, { headers: STRANGER });
    expect(json?.["status"]).toBe("failed");
    return JSON.stringify(json?.["errors"]);
  }
});

describe("a filename", () => {
  const NAMES = [
    'a"; filename="b.exe',
    "a\\",
    'a\\"; x="y',
    "../../etc/passwd",
    "..\\..\\windows\\system.ini",
    "/absolute",
    "file:///etc/passwd",
    "CON",
    ".htaccess",
    "a%0d%0aset-cookie: x=y",
    "a\tb",
    "a\u0000b",
    "a\u0085b\u2028c",
    "\u202Egpj.exe",
    "<script>alert(1)</script>.html",
    "${jndi:ldap://x}",
    "=cmd|' /C calc'!A0",
    "naïve 猫 💥.jsonl",
    "x".repeat(5000),
    `${"x".repeat(511)}💥`,
  ];

  test.each(NAMES)("such as %j comes back as it is, and safe in a download", async (name) => {
    const form = writeForm([
      { name: "purpose", content: "batch" },
      { name: "file", filename: name.replaceAll("\\", "\\\\").replaceAll('"', '\\"'), content: "{}" },
    ]);
    const uploaded = await upload(form);
    expect(uploaded.status).toBe(200);
    const listed = await send(`/v1/files/${String(uploaded.json?.["id"])}`);
    expect(listed.json).toEqual(uploaded.json);
    const shown = String(uploaded.json?.["filename"]);
    expect(shown.isWellFormed()).toBe(true);
    expect(name.startsWith(shown)).toBe(true);
    const { headers } = await send(`/v1/files/${String(uploaded.json?.["id"])}/content`);
    const disposition = headers.get("content-disposition") ?? "";
    // One quoted name, perhaps an encoded one; no folder, no control character, no end before its time.
    expect(disposition).toMatch(/^attachment; filename="[ !#$&-[\]-~]*"(; filename\*=UTF-8''[\w.~%$&+^`|{}#-]+)?$/);
    expect(decodeURIComponent(disposition.split("''")[1] ?? "")).not.toMatch(/[/\\\p{Cc}\p{Cf}]/u);
    expect([headers.get("set-cookie"), headers.get("x-content-type-options")]).toEqual([null, "nosniff"]);
    expect(headers.get("content-type")).toBe("application/octet-stream");
  });

  test("with line breaks in its header is no filename but a broken form", async () => {
    const form = writeForm([{ name: "file", filename: 'a"\r\nset-cookie: x=y\r\n\r\n', content: "{}" }]);
    const { status, headers } = await upload(form);
    expect([status, headers.get("set-cookie")]).toEqual([400, null]);
  });
});

describe("a reply", () => {
  test("to a mistake in the settings names nothing of them", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const broken = { ...env, UPSTREAMS: { secret: { kind: "http", base_url: "no url", api_key_secret: "sk-oops" } } };
    const response = await app.request("/v1/files", { headers: ADMIN }, broken);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toMatch(/secret|sk-oops|UPSTREAMS|no url/);
  });

  test.each([
    ["D1", () => vi.spyOn(env.DB, "prepare").mockImplementation(fail)],
    ["R2", () => vi.spyOn(env.BUCKET, "get").mockRejectedValue(new Error("inner detail"))],
  ])("while %s is away tells nothing of it", async (_, breakIt) => {
    const id = await uploadText("{}");
    vi.spyOn(console, "error").mockReturnValue();
    breakIt();
    const response = await app.request(`/v1/files/${id}/content`, { headers: ADMIN }, env);
    expect([response.status, await response.json()]).toMatchObject([
      500,
      { error: { message: "The server had an error while processing your request.", type: "server_error" } },
    ]);
  });
});

function fail(): never {
  throw new Error("inner detail");
}
