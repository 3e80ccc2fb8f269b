/** The Batches API (wire contract §2). */
import { Hono } from "hono";
import type { Context } from "hono";
import type { BatchRecord } from "../../domain/batch.ts";
import { batchListQuery, toBatch } from "../../protocol/batch.ts";
import { batchOrderSchema } from "../../protocol/batch-order.ts";
import { toPage } from "../../protocol/list.ts";
import { parseRequest } from "../../protocol/refusal.ts";
import { noSuchBatch } from "../../protocol/request-problems.ts";
import { listBatches } from "../../stores/batch-list.ts";
import { findBatch } from "../../stores/batches.ts";
import { ApiError, valueOf } from "../api-error.ts";
import type { CallerEnv } from "../app-env.ts";
import { authenticate } from "../auth.ts";
import { UPSTREAM_HEADER } from "../caller.ts";
import { cancelBatch, findCurrentBatch, type WantedBatch } from "../find-batch.ts";
import { admitGuest } from "../guest-admission.ts";
import { refuseMethod } from "../method.ts";
import { createBatch } from "../new-batch.ts";
import { readJson } from "../request-body.ts";

export const batches = new Hono<CallerEnv>()
  .use(authenticate)
  .post("/", admitGuest, async (c) => {
    const { caller, settings, db } = c.var;
    const schema = batchOrderSchema([...settings.completionWindows.keys()]);
    const order = valueOf(parseRequest(schema, await readJson(c.req.raw)));
    const upstreamName = c.req.header(UPSTREAM_HEADER);
    return answerBatch(c, await createBatch({ order, upstreamName, caller, settings, env: c.env, db }));
  })
  .get("/", async (c) => {
    const query = valueOf(parseRequest(batchListQuery, c.req.query()));
    const { tenant } = c.var.caller;
    const after = query.after === undefined ? null : await findBatch(c.var.db, tenant, query.after);
    if (query.after !== undefined && after === null) throw new ApiError(404, noSuchBatch(query.after));
    const { batches: found, hasMore } = await listBatches(c.var.db, { tenant, limit: query.limit, after });
    return c.json(toPage(found.map(toBatch), hasMore));
  })
  .all("/", refuseMethod("GET, POST"))
  .get("/:id", async (c) => answerBatch(c, await findCurrentBatch(toWanted(c, c.req.param("id")))))
  .all("/:id", refuseMethod("GET"))
  // Clients may send any body or none here, with any content type: it means nothing and is not parsed.
  .post("/:id/cancel", async (c) => answerBatch(c, await cancelBatch(toWanted(c, c.req.param("id")))))
  .all("/:id/cancel", refuseMethod("POST"));

function toWanted(c: Context<CallerEnv>, id: string): WantedBatch {
  return { env: c.env, db: c.var.db, tenant: c.var.caller.tenant, id };
}

function answerBatch(c: Context<CallerEnv>, batch: BatchRecord): Response {
  c.set("batchId", batch.id);
  return c.json(toBatch(batch));
}
