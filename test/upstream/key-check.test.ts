import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { HttpUpstream } from "../../src/config.ts";
import { checkKey, KEY_CHECK_PATIENCE_MS, type KeyVerdict } from "../../src/upstream/key-check.ts";

const upstream: HttpUpstream = {
  kind: "http",
  name: "provider",
  baseUrl: "https://provider.test/api/v1",
  apiKey: "sk-configured",
  guestCheckPath: "/models",
  models: null,
  timeoutSeconds: 600,
  maxInFlight: 64,
  requestsPerMinute: null,
  tokensPerMinute: null,
};

function play(reply: (request: Request, signal: AbortSignal) => Response | Promise<Response>) {
  return vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const signal = init?.signal;
    if (!(signal instanceof AbortSignal)) throw new Error("the check has no time limit");
    return reply(new Request(input, init), signal);
  });
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test.each<[number, KeyVerdict]>([
  [200, "accepted"],
  [299, "accepted"],
  [301, "unavailable"],
  [307, "unavailable"],
  [400, "refused"],
  [401, "refused"],
  [402, "refused"],
  [403, "refused"],
  [404, "accepted"],
  [405, "accepted"],
  [406, "unavailable"],
  [408, "unavailable"],
  [429, "unavailable"],
  [500, "unavailable"],
  [501, "accepted"],
  [502, "unavailable"],
  [503, "unavailable"],
  [530, "unavailable"],
])("an answer of %i means: %s", async (status, expected) => {
  const headers = { location: "https://elsewhere.test/" };
  play(() => new Response(null, { status, headers }));
  expect(await checkKey(upstream, "/models", "sk-guest")).toBe(expected);
  expect(vi.getTimerCount()).toBe(0);
});

test("the guest's key is what is sent, to the upstream alone, and nothing is sent with it", async () => {
  const sent: Request[] = [];
  play((request) => {
    sent.push(request);
    return new Response(null, { status: 302, headers: { location: "https://evil.test/" } });
  });
  await checkKey(upstream, "/models", "sk-guest");
  await checkKey(upstream, "/auth/key", "sk-guest");
  expect(sent.map(({ method, url, redirect }) => [method, url, redirect])).toEqual([
    ["GET", "https://provider.test/api/v1/models", "manual"],
    ["GET", "https://provider.test/api/v1/auth/key", "manual"],
  ]);
  for (const { headers } of sent) {
    expect(Object.fromEntries(headers)).toEqual({
      authorization: "Bearer sk-guest",
      accept: "application/json",
      "user-agent": "nightshift",
    });
  }
});

test("an upstream that cannot be reached could not say", async () => {
  play(() => Promise.reject(new Error("connect ECONNREFUSED sk-guest")));
  expect(await checkKey(upstream, "/models", "sk-guest")).toBe("unavailable");
});

test("an upstream that says nothing is waited for no longer than five seconds", async () => {
  play((_, signal) => {
    const hung = Promise.withResolvers<Response>();
    signal.addEventListener("abort", () => hung.reject(new Error("aborted")));
    return hung.promise;
  });
  let verdict: KeyVerdict | null = null;
  const checking = checkKey(upstream, "/models", "sk-guest").then((said) => (verdict = said));
  await vi.advanceTimersByTimeAsync(KEY_CHECK_PATIENCE_MS - 1);
  expect(verdict).toBeNull();
  await vi.advanceTimersByTimeAsync(1);
  expect(await checking).toBe("unavailable");
});
