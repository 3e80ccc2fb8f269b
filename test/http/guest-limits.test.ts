import { env } from "cloudflare:workers";
import { describe, expect, test, vi } from "vitest";
import { MIN_COUNTED_BYTES } from "../../src/stores/guest-use.ts";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { createAs, LINE, makeGuest, makeGuestService, uploadAs } from "../support/guest-service.ts";
import { ADMIN, envelope } from "../support/service.ts";

const KIB = 1024;
const MOST_BYTES = 512 * KIB;
const service = makeGuestService({ GUEST_MAX_STORED_BYTES: String(MOST_BYTES), GUEST_MAX_LIVE_BATCHES: "2" });
const OVER_STORAGE = envelope({
  code: "insufficient_quota",
  message: `Your files would have more than ${MOST_BYTES} bytes together, which is the most you may store here. Please delete some.`,
});
const TOO_MANY_BATCHES = envelope({
  code: "rate_limit_exceeded",
  message: "You may have at most 2 batches at once. Please wait until one has ended.",
});

holdClockAndQueue();

function newGuest() {
  return makeGuest("unchecked");
}

function contentOf(bytes: number): string {
  return LINE + " ".repeat(bytes - LINE.length);
}

async function countObjects(): Promise<number> {
  return (await env.BUCKET.list()).objects.length;
}

describe("what a guest may store", () => {
  test("is full at the limit, and has room again when a file is deleted", async () => {
    const guest = newGuest();
    const first = await uploadAs(service, guest, contentOf(300 * KIB));
    expect((await uploadAs(service, guest, contentOf(212 * KIB))).status).toBe(200);
    const objects = await countObjects();
    const refused = await uploadAs(service, guest);
    expect([refused.status, refused.json, refused.headers.get("retry-after")]).toEqual([429, OVER_STORAGE, "60"]);
    expect(await countObjects()).toBe(objects);
    await service.send(`/v1/files/${String(first.json?.["id"])}`, { method: "DELETE", headers: guest });
    expect((await uploadAs(service, guest)).status).toBe(200);
  });

  test.each([
    ["just fits", 212 * KIB, 200],
    ["has a byte too many", 212 * KIB + 1, 429],
  ])("is counted while it comes: a file that %s", async (_, bytes, expected) => {
    const guest = newGuest();
    await uploadAs(service, guest, contentOf(300 * KIB));
    const objects = await countObjects();
    const { status, json } = await uploadAs(service, guest, contentOf(bytes));
    expect(status).toBe(expected);
    expect(await countObjects()).toBe(expected === 200 ? objects + 1 : objects);
    if (expected === 429) expect(json).toEqual(OVER_STORAGE);
  });

  test("is not read further than the limit goes", async () => {
    const guest = newGuest();
    const put = vi.spyOn(env.BUCKET, "createMultipartUpload");
    expect((await uploadAs(service, guest, contentOf(8000 * KIB))).status).toBe(429);
    expect(put).not.toHaveBeenCalled();
  });

  test("counts each file as 64 KiB at least, so that it bounds their number too", async () => {
    const guest = newGuest();
    const most = MOST_BYTES / MIN_COUNTED_BYTES;
    const answers: number[] = [];
    for (let files = 0; files <= most; files += 1) answers.push((await uploadAs(service, guest)).status);
    expect(answers).toEqual([...Array.from({ length: most }, () => 200), 429]);
  });

  test("is kept by uploads that come at the same time", async () => {
    const guest = newGuest();
    const objects = await countObjects();
    const uploads = await Promise.all(Array.from({ length: 4 }, () => uploadAs(service, guest, contentOf(200 * KIB))));
    expect(uploads.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 429, 429]);
    expect(await countObjects()).toBe(objects + 2);
  });

  test("is each guest's own, and no concern of the deployment's own key", async () => {
    await uploadAs(service, newGuest(), contentOf(MOST_BYTES));
    expect((await uploadAs(service, newGuest())).status).toBe(200);
    expect((await uploadAs(service, ADMIN, contentOf(MOST_BYTES + 1))).status).toBe(200);
  });
});

describe("how many batches a guest may have at once", () => {
  test("is full at the limit, and has room again when one ends", async () => {
    const [guest, other] = [newGuest(), newGuest()];
    const created = [await createAs(service, guest), await createAs(service, guest)];
    expect(created.map(({ status }) => status)).toEqual([200, 200]);
    const refused = await createAs(service, guest);
    expect([refused.status, refused.json, refused.headers.get("retry-after")]).toEqual([429, TOO_MANY_BATCHES, "60"]);
    expect((await createAs(service, other)).status).toBe(200);
    await env.DB.prepare("UPDATE batches SET status = 'completed' WHERE id = ?1").bind(created[0]?.json?.["id"]).run();
    expect((await createAs(service, guest)).status).toBe(200);
    expect((await createAs(service, guest)).status).toBe(429);
  });

  test("is no concern of the deployment's own key, which asks D1 nothing for it", async () => {
    const asked = vi.spyOn(env.DB, "prepare");
    for (let batches = 0; batches < 3; batches += 1) {
      expect((await createAs(service, { ...ADMIN, "x-portkey-provider": "unchecked" })).status).toBe(200);
    }
    await uploadAs(service, ADMIN);
    expect(asked.mock.calls.join()).not.toMatch(/SUM|COUNT/);
  });
});
