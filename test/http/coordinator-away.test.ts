/** What a client sees while the coordinator of its batch cannot be reached, as for a moment at every deploy. */
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { findBatch, saveBatch } from "../../src/stores/batches.ts";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { ADMIN, envelope, send, uploadText } from "../support/service.ts";

const LINE = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n';
const TENANT = "org-default";

holdClockAndQueue();

let id = "";

beforeEach(async () => {
  const order = { input_file_id: await uploadText(LINE), endpoint: "/v1/embeddings", completion_window: "24h" };
  const created = await send("/v1/batches", { method: "POST", body: JSON.stringify(order), headers: ADMIN });
  id = String(created.json?.["id"]);
});

/** The app, with objects that were reset. */
async function ask(path: string, method: string) {
  const gone = () => Promise.reject(new Error("Durable Object reset because its code was updated."));
  const coordinators = { getByName: () => ({ snapshot: gone, cancel: gone }) };
  const response = await app.request(path, { method, headers: ADMIN }, { ...env, COORDINATORS: coordinators });
  return { status: response.status, headers: response.headers, json: await response.json() };
}

describe("a batch whose coordinator is away", () => {
  test("is answered as D1 has it, and the log says so", async () => {
    const logged = vi.spyOn(console, "error").mockReturnValue();
    const { status, json } = await ask(`/v1/batches/${id}`, "GET");
    expect([status, json]).toMatchObject([200, { id, status: "validating" }]);
    expect(logged.mock.calls.join()).toContain("coordinator_unreachable");
  });

  test("is answered as D1 has it when it is final, without asking", async () => {
    const logged = vi.spyOn(console, "error").mockReturnValue();
    const batch = await findBatch(env.DB, TENANT, id);
    if (batch === null) throw new Error("the batch was not listed");
    await saveBatch(env.DB, { ...batch, status: "completed" });
    expect(await ask(`/v1/batches/${id}`, "GET")).toMatchObject({ status: 200, json: { status: "completed" } });
    expect(logged).not.toHaveBeenCalled();
  });

  test("cannot be cancelled now: SDKs are told to ask again in five seconds", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const { status, headers, json } = await ask(`/v1/batches/${id}/cancel`, "POST");
    const message = "The batch could not be cancelled. Please try again.";
    expect([status, json]).toEqual([503, envelope({ message, type: "server_error" })]);
    expect([headers.get("retry-after"), headers.get("x-should-retry")]).toEqual(["5", null]);
    expect((await send(`/v1/batches/${id}`)).json).toMatchObject({ status: "validating" });
  });

  test("is as unknown as ever to others", async () => {
    expect((await ask(`/v1/batches/batch_${"0".repeat(32)}`, "GET")).status).toBe(404);
  });
});
