import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Statement } from "../../src/domain/grant.ts";
import { clearPacers } from "../support/pacers.ts";
import { aStatement } from "../support/statement.ts";

/** No alarm fires by itself before it. */
const NOON = new Date("2040-01-01T12:00:00Z");
/** The upstream of the deployment's settings. */
const UPSTREAM = "echo";
const MAX_IN_FLIGHT = 64;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOON });
});

afterEach(async () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  await clearPacers();
});

function state(batchId: string, more: Partial<Statement> = {}): Statement {
  return aStatement(batchId, 1000, more);
}

function pacerOf(name: string) {
  return env.PACERS.getByName(name);
}

/** Stands in for the coordinators: each answers with what it is told to hold, or not at all. */
function answerFor(states: Readonly<Record<string, Statement | null | Error>>) {
  const asked: string[] = [];
  vi.spyOn(env.COORDINATORS, "getByName").mockImplementation((id) => {
    const answer = async () => {
      asked.push(id);
      const statement = states[id] ?? null;
      if (statement instanceof Error) throw statement;
      return statement;
    };
    return { takeGrant: answer, describeLoad: answer } as unknown as ReturnType<Env["COORDINATORS"]["getByName"]>;
  });
  return asked;
}

function storedIds(name: string): Promise<readonly unknown[]> {
  return runInDurableObject(pacerOf(name), (_, { storage }) =>
    storage.sql
      .exec<{ id: string }>("SELECT id FROM batches ORDER BY id")
      .toArray()
      .map(({ id }) => id),
  );
}

describe("a pacer", () => {
  test("gives all to one batch, and writes down who it is until it is over", async () => {
    expect(await pacerOf(UPSTREAM).tell(state("batch-a"))).toMatchObject({ lines: MAX_IN_FLIGHT, pause: null });
    expect(await storedIds(UPSTREAM)).toEqual(["batch-a"]);
    await pacerOf(UPSTREAM).tell(state("batch-a", { isOver: true }));
    expect(await storedIds(UPSTREAM)).toEqual([]);
  });

  test("of an upstream that is not in the settings gives nothing", async () => {
    expect(await pacerOf("gone").tell(state("batch-a"))).toMatchObject({ lines: 0 });
  });

  test("tells the others at once that they have less, and the newcomer when they have said so", async () => {
    const first = await pacerOf(UPSTREAM).tell(state("batch-a"));
    const told = vi.fn<(grant: { readonly lines: number }) => void>();
    vi.spyOn(env.COORDINATORS, "getByName").mockImplementation((id) => {
      const takeGrant = async (grant: Statement["grant"] & object) => {
        told(grant);
        return state(id, { grant });
      };
      return { takeGrant } as unknown as ReturnType<Env["COORDINATORS"]["getByName"]>;
    });
    expect(await pacerOf(UPSTREAM).tell(state("batch-b"))).toMatchObject({ lines: 0, life: first.life });
    await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(2));
    expect(told.mock.calls.map(([{ lines }]) => lines)).toEqual([MAX_IN_FLIGHT / 2, MAX_IN_FLIGHT / 2]);
  });

  test("asks after a restart what its batches hold before it gives anything away", async () => {
    const grant = await pacerOf(UPSTREAM).tell(state("batch-a"));
    await evictDurableObject(pacerOf(UPSTREAM));
    const asked = answerFor({ "batch-a": state("batch-a", { grant, heldLines: 60 }) });
    expect(await pacerOf(UPSTREAM).tell(state("batch-b"))).toMatchObject({ lines: 0 });
    await vi.waitFor(() => expect(asked).toContain("batch-a"));
    const { lines } = await pacerOf(UPSTREAM).tell(state("batch-b"));
    expect(lines).toBeLessThanOrEqual(MAX_IN_FLIGHT - 60);
  });

  test("waits half a minute for one that cannot be reached", async () => {
    await pacerOf(UPSTREAM).tell(state("batch-a"));
    await evictDurableObject(pacerOf(UPSTREAM));
    vi.spyOn(console, "error").mockImplementation(() => {});
    const asked = answerFor({ "batch-a": new Error("the object is away") });
    expect(await pacerOf(UPSTREAM).tell(state("batch-b"))).toMatchObject({ lines: 0 });
    await vi.waitFor(() => expect(asked).toContain("batch-a"));
    vi.setSystemTime(NOON.getTime() + 29_999);
    expect(await pacerOf(UPSTREAM).tell(state("batch-b"))).toMatchObject({ lines: 0 });
    vi.setSystemTime(NOON.getTime() + 30_000);
    expect(await pacerOf(UPSTREAM).tell(state("batch-b"))).toMatchObject({ lines: MAX_IN_FLIGHT });
  });

  test("asks those that are silent for a minute, and forgets who is not there", async () => {
    for (const id of ["batch-a", "batch-b"]) await pacerOf(UPSTREAM).tell(state(id));
    const asked = answerFor({ "batch-a": state("batch-a") });
    vi.setSystemTime(NOON.getTime() + 60_001);
    await runDurableObjectAlarm(pacerOf(UPSTREAM));
    await vi.waitFor(async () => expect(await storedIds(UPSTREAM)).toEqual(["batch-a"]));
    expect(asked).toEqual(expect.arrayContaining(["batch-a", "batch-b"]));
  });

  test("of a guest leaves nothing behind when the guest has no batch", async () => {
    const name = `${UPSTREAM}:guest`;
    await pacerOf(name).tell(state("batch-a"));
    await pacerOf(name).tell(state("batch-a", { isOver: true }));
    await runDurableObjectAlarm(pacerOf(name));
    const tables = await runInDurableObject(pacerOf(name), (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'batches'").toArray(),
    );
    expect(tables).toEqual([]);
    expect(await pacerOf(name).tell(state("batch-b"))).toMatchObject({ lines: MAX_IN_FLIGHT });
  });
});
