import { env } from "cloudflare:workers";
import { evictDurableObject } from "cloudflare:test";
import { describe, expect, test, vi } from "vitest";
import { holdClockAndQueue, passSeconds, HeldBatch } from "../support/held-batch.ts";

holdClockAndQueue();

/** One line in flight, and two batches that want it. Each test has an upstream of its own: D1 is shared. */
async function launchTwo() {
  const upstream = `narrow-${crypto.randomUUID()}`;
  const upstreams = { [upstream]: { kind: "echo", max_in_flight: 1 } };
  const settings = { UPSTREAMS: JSON.stringify(upstreams), DEFAULT_UPSTREAM: upstream };
  async function launch(id: string): Promise<HeldBatch> {
    const prepared = (await HeldBatch.prepare({ upstream })).with({ id });
    await prepared.setSettings(settings);
    await prepared.begin();
    await prepared.alarm();
    return prepared;
  }
  const time = crypto.randomUUID();
  return { launchOlder: () => launch(`batch_a-${time}`), launchYounger: () => launch(`batch_b-${time}`) };
}

async function finish(batch: HeldBatch): Promise<void> {
  await batch.settle(await batch.take());
  await batch.alarm();
  expect(await batch.row()).toMatchObject({ status: "completed" });
}

/** Its pacer has told it something, and its alarm is due. */
async function hasNews(batch: HeldBatch): Promise<void> {
  await vi.waitFor(async () => expect((await batch.alarmTime()) ?? Infinity).toBeLessThanOrEqual(Date.now()));
}

describe("when an upstream has no room for two batches", () => {
  test("the younger one waits, and says every half a minute that it is there", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const older = await launchOlder();
    const younger = await launchYounger();
    expect(older.tokens).toHaveLength(1);
    expect(younger.tokens).toEqual([]);
    expect(await younger.status()).toBe("in_progress");
    expect(((await younger.alarmTime()) ?? Infinity) - Date.now()).toBeLessThanOrEqual(30_000);
  });

  test("it has its turn when the older one has ended", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const older = await launchOlder();
    const younger = await launchYounger();
    await finish(older);
    vi.setSystemTime((await younger.alarmTime()) ?? 0);
    await younger.alarm();
    expect(younger.tokens).toHaveLength(1);
    await finish(younger);
  });

  test("it is told of that at once", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const older = await launchOlder();
    const younger = await launchYounger();
    await finish(older);
    await hasNews(younger);
    expect(await younger.alarmTime()).toBeLessThanOrEqual(Date.now());
  });

  test("whoever ends is not told by those that come", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const older = await launchOlder();
    await older.stub.cancel();
    const before = await older.alarmTime();
    await older.stub.describeLoad();
    expect(await older.alarmTime()).toBe(before);
    await launchYounger();
    expect(await older.status()).toBe("cancelling");
  });

  test("it gives its turn up to an older one, and loses nothing", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const younger = await launchYounger();
    const { token, slices } = await younger.take();
    const older = await launchOlder();
    passSeconds(5);
    await younger.alarm();
    const settled = { token, slices: slices.slice(0, 1) };
    expect(await younger.settle(settled, { wantedLines: 2 })).toMatchObject({ kind: "stop" });
    await younger.report({ token, phase: "leaving" });
    passSeconds(1);
    await younger.alarm();
    await hasNews(older);
    await older.alarm();
    expect([older.tokens.length, younger.tokens.length]).toEqual([1, 1]);
    await finish(older);
    await hasNews(younger);
    await younger.alarm();
    expect(younger.tokens).toHaveLength(2);
    await finish(younger);
    expect(await younger.row()).toMatchObject({ counts: { total: 3, completed: 3 } });
  });

  test("lines that wait to be tried again give the turn away meanwhile", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    const older = await launchOlder();
    const { token, slices } = await older.take();
    const dueAt = new Date(Date.now() + 3_600_000);
    const givenBack = slices.flatMap(({ lines }) => lines.map(({ line }) => ({ line, attempts: 1, dueAt })));
    await older.report({ token, phase: "leaving", answers: givenBack.length, givenBack });
    passSeconds(5);
    await older.alarm();
    const younger = await launchYounger();
    expect(younger.tokens).toHaveLength(1);
    await finish(younger);
    vi.setSystemTime(dueAt);
    await older.alarm();
    expect(older.tokens).toHaveLength(2);
    await finish(older);
  });

  test("one that waits does not send when it is loaded anew and D1 is away", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    await launchOlder();
    const younger = await launchYounger();
    await evictDurableObject(younger.stub);
    const prepare = vi.spyOn(env.DB, "prepare").mockImplementation(() => {
      throw new Error("D1 is down");
    });
    passSeconds(60);
    await younger.alarm();
    prepare.mockRestore();
    expect(younger.tokens).toEqual([]);
  });

  test("one that waits asks D1 only to write what is new when it is loaded anew", async () => {
    const { launchOlder, launchYounger } = await launchTwo();
    await launchOlder();
    const younger = await launchYounger();
    await evictDurableObject(younger.stub);
    const prepare = vi.spyOn(env.DB, "prepare");
    passSeconds(60);
    await younger.alarm();
    const statements = prepare.mock.calls.map(([sql]) => sql.slice(0, 6));
    prepare.mockRestore();
    expect(statements).toEqual(["UPDATE"]);
  });

  test("a dispatch that winds down has no more in flight than before", async () => {
    const { launchOlder } = await launchTwo();
    const older = await launchOlder();
    const { token } = await older.take();
    expect(await older.report({ token, phase: "winding_down" })).toMatchObject({ kind: "run", slots: 1 });
  });
});
