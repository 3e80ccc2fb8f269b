/** One invocation of the consumer that works for several batches of one upstream. */
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { Pacer } from "../../src/domain/grant.ts";
import { HeldBatch, holdClockAndQueue } from "../support/held-batch.ts";
import { answerOk, answerStatus, deliver, deliverLast, standInForUpstream, workToTheEnd } from "../support/delivery.ts";

holdClockAndQueue(["Date", "setTimeout", "clearTimeout"]);

const SLOTS = 5;
/** Less than two batches of ten lines want. */
const MAX_IN_FLIGHT = 8;
const SETTINGS = {
  UPSTREAMS: JSON.stringify({ mock: { kind: "http", base_url: "http://mock.test/v1", max_in_flight: MAX_IN_FLIGHT } }),
  DEFAULT_UPSTREAM: "mock",
  LINES_PER_INVOCATION: String(SLOTS),
};

let inFlight = 0;
let mostInFlight = 0;

beforeEach(() => {
  inFlight = 0;
  mostInFlight = 0;
});

/** Each line takes a few seconds, the first of a batch half a minute. */
function answerSlowly() {
  return standInForUpstream(async ({ line }) => {
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    await new Promise((resolve) => setTimeout(resolve, line === 0 ? 30_000 : 2000 + 100 * line));
    inFlight -= 1;
    return answerOk();
  });
}

/** One whose dispatch will be delivered, and one that waits for a consumer. */
async function launchTwo() {
  const delivered = await HeldBatch.launch({ lines: 12, upstream: "mock", settings: SETTINGS });
  const waiting = await HeldBatch.launch({ lines: 12, upstream: "mock", settings: SETTINGS });
  return { delivered, waiting };
}

/** Counts calls of R2 that are made while another one is. */
function watchBucket() {
  const overlaps: string[] = [];
  let underWay = 0;
  async function watch<Value>(call: string, make: () => Promise<Value>): Promise<Value> {
    underWay += 1;
    if (underWay > 1) overlaps.push(call);
    try {
      return await make();
    } finally {
      underWay -= 1;
    }
  }
  const get = env.BUCKET.get.bind(env.BUCKET) as (...args: unknown[]) => Promise<unknown>;
  const put = env.BUCKET.put.bind(env.BUCKET) as (...args: unknown[]) => Promise<unknown>;
  const bucket = {
    get: (...args: unknown[]) => watch("get", () => get(...args)),
    put: (...args: unknown[]) => watch("put", () => put(...args)),
  };
  return { overlaps, bucket };
}

function consumerEnv(change: Readonly<Record<string, unknown>> = {}) {
  return { ...SETTINGS, ...change } as Readonly<Record<string, string>>;
}

function failingPacer(findWork: Pacer["findWork"]) {
  return { PACERS: { getByName: () => ({ findWork }) } };
}

describe("a consumer with idle slots", () => {
  test("works for another batch that waits for one, too", async () => {
    const sent = answerSlowly();
    const { delivered, waiting } = await launchTwo();
    expect(await deliverLast(delivered, { settings: consumerEnv() })).toEqual({ acked: ["message-0"], retried: [] });
    expect(new Set(sent.map(({ headers }) => headers.get("x-client-request-id")?.replace(/-\d+$/, "")))).toEqual(
      new Set([delivered.id, waiting.id]),
    );
    expect((await waiting.snapshot())?.counts.completed).toBeGreaterThan(0);
  });

  test("never has more lines in flight than LINES_PER_INVOCATION, and makes one call to R2 at a time", async () => {
    answerSlowly();
    const { delivered } = await launchTwo();
    const { overlaps, bucket } = watchBucket();
    await deliverLast(delivered, { settings: consumerEnv({ BUCKET: bucket }) });
    expect(mostInFlight).toBe(SLOTS);
    expect(overlaps).toEqual([]);
  });

  test("logs each dispatch by itself", async () => {
    answerSlowly();
    const { delivered, waiting } = await launchTwo();
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    await deliverLast(delivered, { settings: consumerEnv() });
    const logged = log.mock.calls.map(([text]) => JSON.parse(String(text)) as Record<string, unknown>);
    const batches = logged.filter(({ event }) => event === "dispatch").map(({ batch }) => batch);
    expect(new Set(batches)).toEqual(new Set([delivered.id, waiting.id]));
  });

  test("leaves a message for a dispatch that it took on without effect, and both batches end", async () => {
    const sent = answerSlowly();
    const { delivered, waiting } = await launchTwo();
    await deliverLast(delivered, { settings: consumerEnv() });
    for (const token of waiting.tokens) {
      expect((await deliver([{ batchId: waiting.id, token }], { settings: consumerEnv() })).retried).toEqual([]);
    }
    await workToTheEnd(delivered, consumerEnv());
    await workToTheEnd(waiting, consumerEnv());
    for (const batch of [delivered, waiting]) {
      expect(await batch.row()).toMatchObject({ status: "completed", counts: { completed: 12, failed: 0 } });
    }
    expect(sent).toHaveLength(24);
  });
});

describe("the batch of a message is not harmed", () => {
  test.each([
    ["by a pacer that fails", failingPacer(() => Promise.reject(new Error("the pacer is down")))],
    ["by a pacer of an older version", { PACERS: { getByName: () => ({}) } }],
    ["by a batch that nobody knows", failingPacer(() => Promise.resolve("batch_nobody"))],
  ])("%s", async (_what, change) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    answerSlowly();
    const { delivered } = await launchTwo();
    const result = await deliverLast(delivered, { settings: consumerEnv(change) });
    expect(result).toEqual({ acked: ["message-0"], retried: [] });
    expect((await delivered.snapshot())?.counts.completed).toBeGreaterThan(0);
  });

  test("by one whose coordinator cannot be asked for work", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    answerSlowly();
    const { delivered, waiting } = await launchTwo();
    const getByName = env.COORDINATORS.getByName.bind(env.COORDINATORS);
    const coordinators = {
      getByName: (name: string) => {
        if (name === waiting.id) throw new Error("the coordinator is down");
        return getByName(name);
      },
    };
    const result = await deliverLast(delivered, { settings: consumerEnv({ COORDINATORS: coordinators }) });
    expect(result).toEqual({ acked: ["message-0"], retried: [] });
    expect((await delivered.snapshot())?.counts.completed).toBeGreaterThan(0);
  });
});

test("a consumer that may run one line alone takes nothing on beside it", async () => {
  const findWork = vi.fn<Pacer["findWork"]>(() => Promise.resolve(null));
  standInForUpstream(() => answerStatus(503));
  const { delivered } = await launchTwo();
  const claim = { ...(await delivered.claim()), mayHaveMore: false };
  const coordinators = {
    getByName: () => ({ claim: () => Promise.resolve(claim), report: () => Promise.resolve({ kind: "stop" }) }),
  };
  const change = { COORDINATORS: coordinators, ...failingPacer(findWork) };
  await deliverLast(delivered, { settings: consumerEnv(change) });
  expect(findWork).not.toHaveBeenCalled();
});
