import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { ADMIN, send, STRANGER } from "../support/service.ts";

const ALL_WELL = { d1: "ok", r2: "ok", queue: "ok" };

async function ask() {
  const response = await app.request("/healthz", { headers: ADMIN }, env);
  return { status: response.status, json: await response.json() };
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const away = () => Promise.reject(new Error("away"));
const silent = () => new Promise<never>(() => {});

describe("the health of the service", () => {
  test("is told to the holder of the key", async () => {
    const { status, json } = await send("/healthz", { headers: ADMIN });
    expect([status, json]).toEqual([200, { status: "ok", checks: ALL_WELL }]);
  });

  test.each([
    ["nobody", {}],
    ["a wrong key", { authorization: "Bearer sk-tesT" }],
    ["a guest", STRANGER],
  ])("is told to %s in one word, and asks no store", async (_, headers) => {
    // Whatever touches a binding fails.
    const bindings = { DB: undefined, BUCKET: undefined, DISPATCHES: { sendBatch: null }, DEAD_LETTERS: undefined };
    const asked = vi.spyOn(globalThis, "fetch");
    const response = await app.request("/healthz", { headers }, { ...env, ...bindings, COORDINATORS: undefined });
    expect([response.status, await response.json()]).toEqual([200, { status: "ok" }]);
    expect(asked).not.toHaveBeenCalled();
  });

  test.each([
    ["nobody", {}],
    ["the holder of the key", ADMIN],
  ])("is told to %s as bad when the settings cannot be read, and the log says which", async (_, headers) => {
    const logged = vi.spyOn(console, "error").mockReturnValue();
    const response = await app.request("/healthz", { headers }, { ...env, DEFAULT_UPSTREAM: "nowhere" });
    expect([response.status, await response.json()]).toEqual([503, { status: "misconfigured" }]);
    expect(logged.mock.calls.join()).toMatch(/"misconfigured".*DEFAULT_UPSTREAM/);
  });

  test.each([
    ["d1", () => vi.spyOn(env.DB, "prepare").mockReturnValue({ first: away } as unknown as D1PreparedStatement)],
    ["r2", () => vi.spyOn(env.BUCKET, "head").mockImplementation(away)],
    ["queue", () => vi.spyOn(env.DISPATCHES, "metrics").mockImplementation(away)],
    ["queue", () => vi.spyOn(env.DEAD_LETTERS, "metrics").mockImplementation(away)],
  ])("is bad when %s cannot be reached, and says so in the log", async (name, breakIt) => {
    breakIt();
    const logged = vi.spyOn(console, "log").mockReturnValue();
    const checks = { ...ALL_WELL, [name]: "failed" };
    expect(await ask()).toEqual({ status: 503, json: { status: "unavailable", checks } });
    expect(logged.mock.calls).toContainEqual([JSON.stringify({ event: "unhealthy", ...checks })]);
  });

  test("is bad when one of several dispatch queues cannot be reached", async () => {
    const broken = { sendBatch: away, metrics: away };
    const response = await app.request("/healthz", { headers: ADMIN }, { ...env, DISPATCHES_2: broken });
    expect(await response.json()).toMatchObject({ status: "unavailable", checks: { ...ALL_WELL, queue: "failed" } });
  });

  test("is bad when there is a gap in the dispatch queues, and the log says which", async () => {
    const logged = vi.spyOn(console, "error").mockReturnValue();
    const response = await app.request("/healthz", {}, { ...env, DISPATCHES_3: env.DISPATCHES });
    expect([response.status, await response.json()]).toEqual([503, { status: "misconfigured" }]);
    expect(logged.mock.calls.join()).toMatch(/"misconfigured".*DISPATCHES_2/);
  });

  test("is bad when a binding is missing", async () => {
    const response = await app.request("/healthz", { headers: ADMIN }, { ...env, DEAD_LETTERS: undefined });
    expect(await response.json()).toMatchObject({ status: "unavailable", checks: { ...ALL_WELL, queue: "failed" } });
  });

  test("is bad after three seconds without an answer, and waits no longer", async () => {
    vi.useFakeTimers();
    vi.spyOn(env.BUCKET, "head").mockImplementation(silent);
    vi.spyOn(env.DISPATCHES, "metrics").mockImplementation(silent);
    let answer: unknown = null;
    const asking = ask().then((health) => (answer = health));
    await vi.advanceTimersByTimeAsync(2999);
    expect(answer).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    const checks = { d1: "ok", r2: "timeout", queue: "timeout" };
    expect(await asking).toEqual({ status: 503, json: { status: "unavailable", checks } });
  });
});
