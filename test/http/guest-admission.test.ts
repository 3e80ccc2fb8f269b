import { env } from "cloudflare:workers";
import fc from "fast-check";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ACCEPTED_FOR_MS, BLOCKED_FOR_MS, networkOf, REFUSED_FOR_MS } from "../../src/http/guest-admission.ts";
import { openDatabase } from "../../src/stores/schema.ts";
import { holdClockAndQueue } from "../support/held-batch.ts";
import {
  createAs,
  type GuestService,
  makeGuest,
  makeGuestService,
  standInForProvider,
  uploadAs,
} from "../support/guest-service.ts";
import { ADMIN, envelope } from "../support/service.ts";

const WRONG_KEY = envelope({ code: "invalid_api_key", message: "Incorrect API key provided." });
const TOO_MANY = envelope({
  code: "rate_limit_exceeded",
  message: "Too many API keys that were not accepted came from your address.",
});
const AWAY = envelope({
  message: "The provider could not be asked whether it knows your API key. Please try again.",
  type: "server_error",
});

holdClockAndQueue();

let service: GuestService;

beforeEach(() => {
  service = makeGuestService();
});

async function countStored(): Promise<unknown> {
  const db = await openDatabase(env.DB);
  const rows = await db.prepare("SELECT (SELECT COUNT(*) FROM files) + (SELECT COUNT(*) FROM batches) AS n").first("n");
  return [rows, (await env.BUCKET.list()).objects.length];
}

function passMs(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

/** An address that no other test uses. */
let addresses = 0;
function newAddress(): Readonly<Record<string, string>> {
  addresses += 1;
  return { "cf-connecting-ip": `192.0.2.${addresses}` };
}

describe("a guest whose provider knows its key", () => {
  test("may store, and its provider is asked once in ten minutes", async () => {
    const asked = standInForProvider();
    const guest = makeGuest();
    const uploaded = await uploadAs(service, guest);
    const created = await createAs(service, guest, String(uploaded.json?.["id"]));
    expect([uploaded.status, created.status, asked.mock.calls.length]).toEqual([200, 200, 1]);
    passMs(ACCEPTED_FOR_MS - 1);
    await uploadAs(service, guest);
    expect(asked).toHaveBeenCalledTimes(1);
    passMs(1);
    await uploadAs(service, guest);
    expect(asked).toHaveBeenCalledTimes(2);
    expect(service.limit).not.toHaveBeenCalled();
  });

  test("is let in by a provider that has no list of models", async () => {
    standInForProvider(() => 404);
    expect((await uploadAs(service, makeGuest())).status).toBe(200);
  });

  test("is asked for where the settings say, or not at all", async () => {
    const paths: string[] = [];
    standInForProvider((path) => {
      paths.push(path);
      return 200;
    });
    for (const upstream of ["provider", "elsewhere", "unchecked"]) {
      expect((await uploadAs(service, makeGuest(upstream))).status).toBe(200);
    }
    expect(paths).toEqual(["/v1/models", "/v1/auth/key"]);
  });

  test("is another guest at another upstream, where it is asked for again", async () => {
    const asked = standInForProvider();
    const guest = makeGuest();
    await uploadAs(service, guest);
    await uploadAs(service, { ...guest, "x-portkey-provider": "elsewhere" });
    expect(asked).toHaveBeenCalledTimes(2);
  });
});

describe("a guest whose provider refuses its key", () => {
  test.each([
    ["upload", uploadAs],
    ["create", createAs],
  ])("cannot %s anything, and nothing is stored", async (_, attempt) => {
    const asked = standInForProvider(() => 401);
    const [guest, before] = [makeGuest(), await countStored()];
    for (let tries = 0; tries < 2; tries += 1) {
      const { status, json, headers } = await attempt(service, { ...guest, ...newAddress() });
      expect([status, json, headers.get("www-authenticate")]).toEqual([401, WRONG_KEY, "Bearer"]);
    }
    expect(asked).toHaveBeenCalledTimes(1);
    expect(await countStored()).toEqual(before);
  });

  test("is asked for again after a minute, when the key may have come into force", async () => {
    const asked = standInForProvider(() => (asked.mock.calls.length > 1 ? 200 : 401));
    const guest = makeGuest();
    await uploadAs(service, guest);
    passMs(REFUSED_FOR_MS - 1);
    expect((await uploadAs(service, guest)).status).toBe(401);
    passMs(1);
    expect((await uploadAs(service, guest)).status).toBe(200);
  });

  test("may read, and finds nothing: no provider is asked for that", async () => {
    const asked = standInForProvider(() => 401);
    const headers = makeGuest();
    for (const [path, method, status] of [
      ["/v1/files", "GET", 200],
      ["/v1/batches", "GET", 200],
      ["/v1/files/file-0", "GET", 404],
      ["/v1/files/file-0", "DELETE", 404],
      ["/v1/batches/batch_0/cancel", "POST", 404],
    ] as const) {
      expect((await service.send(path, { method, headers })).status).toBe(status);
    }
    expect(asked).not.toHaveBeenCalled();
  });
});

describe("a guest whose provider is away", () => {
  test("is told to come again, and nothing is remembered or stored", async () => {
    const asked = standInForProvider(() => (asked.mock.calls.length > 2 ? 200 : 503));
    const [guest, before] = [{ ...makeGuest(), ...newAddress() }, await countStored()];
    for (const attempt of [uploadAs, createAs]) {
      const { status, json, headers } = await attempt(service, guest);
      expect([status, json, headers.get("retry-after")]).toEqual([503, AWAY, "5"]);
    }
    expect(await countStored()).toEqual(before);
    expect((await uploadAs(service, guest)).status).toBe(200);
  });
});

describe("many keys that are not accepted", () => {
  test("from one address are refused unasked for a minute; other addresses and known guests are not", async () => {
    const asked = standInForProvider(() => 401);
    const address = newAddress();
    const attempt = () => uploadAs(service, { ...makeGuest(), ...address });
    expect((await attempt()).json).toEqual(WRONG_KEY);
    service.limit.mockResolvedValueOnce({ success: false });
    const eleventh = await attempt();
    expect([eleventh.status, eleventh.json, eleventh.headers.get("retry-after")]).toEqual([429, TOO_MANY, "60"]);
    passMs(BLOCKED_FOR_MS - 1);
    expect((await attempt()).json).toEqual(TOO_MANY);
    expect(asked).toHaveBeenCalledTimes(2);
    asked.mockImplementation(() => Promise.resolve(new Response()));
    const known = makeGuest();
    expect((await uploadAs(service, { ...known, ...newAddress() })).status).toBe(200);
    expect((await uploadAs(service, { ...known, ...address })).status).toBe(200);
    passMs(1);
    expect((await attempt()).status).toBe(200);
    expect(service.limit.mock.calls.map(([options]) => options.key)).toEqual([
      address["cf-connecting-ip"],
      address["cf-connecting-ip"],
    ]);
  });

  test("are counted by the platform, ten a minute", async () => {
    expect(await env.GUEST_FAILURES.limit({ key: crypto.randomUUID() })).toEqual({ success: true });
  });

  test.each([
    ["192.0.2.7", "192.0.2.7"],
    ["", ""],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::6", "2001:db8:1:2::/64"],
    ["2001:db8::6", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["2001:db8:1:2:3::", "2001:db8:1:2::/64"],
    ["::ffff:192.0.2.7", "::ffff:192.0.2.7"],
  ])("from %j count for %j", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe("an address of anything", () => {
  test("counts for something, and never for more than was sent", () => {
    const odd = fc.string({ unit: fc.constantFrom(":", "::", ".", "f", "0", "%", " "), maxLength: 60 });
    fc.assert(
      fc.property(odd, (address) => {
        expect(networkOf(address).length).toBeLessThanOrEqual(address.length + "0:0:0:0::/64".length);
      }),
    );
  });
});

describe("a key that no header can carry", () => {
  test.each(["sk-ü", "sk-\u007F", "sk-\u00FF"])("is refused at once, everywhere: %j", async (key) => {
    const asked = standInForProvider();
    const headers = makeGuest("unchecked", key);
    for (const [path, method] of [
      ["/v1/files", "GET"],
      ["/v1/files", "POST"],
      ["/v1/batches", "POST"],
    ] as const) {
      const { status, json } = await service.send(path, { method, headers });
      expect([status, json]).toEqual([401, WRONG_KEY]);
    }
    expect(asked).not.toHaveBeenCalled();
  });
});

describe("the deployment's own key", () => {
  test("is never tried at a provider", async () => {
    const asked = standInForProvider(() => 401);
    expect((await uploadAs(service, { ...ADMIN, "x-portkey-provider": "provider" })).status).toBe(200);
    expect((await createAs(service, { ...ADMIN, "x-portkey-provider": "provider" })).status).toBe(200);
    expect(asked).not.toHaveBeenCalled();
  });
});
