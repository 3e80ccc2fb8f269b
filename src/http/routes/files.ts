/** The Files API (wire contract §4). */
import { Hono } from "hono";
import type { Context } from "hono";
import type { FileRecord } from "../../domain/file.ts";
import { fileListQuery, toDeletedFile, toFileObject } from "../../protocol/file.ts";
import { toPage } from "../../protocol/list.ts";
import { parseRequest } from "../../protocol/refusal.ts";
import { noSuchFile } from "../../protocol/request-problems.ts";
import { isInputHeld } from "../../stores/batches.ts";
import { findFile, hideFile, listFiles, removeFile } from "../../stores/files.ts";
import { ApiError, valueOf } from "../api-error.ts";
import type { CallerEnv } from "../app-env.ts";
import { authenticate } from "../auth.ts";
import { answerContent } from "../content.ts";
import { admitGuest } from "../guest-admission.ts";
import { findStorageQuota } from "../guest-limits.ts";
import { refuseMethod } from "../method.ts";
import { receiveFile } from "../upload.ts";

export const files = new Hono<CallerEnv>()
  .use(authenticate)
  .post("/", admitGuest, async (c) => {
    const { caller, settings, db } = c.var;
    const quota = await findStorageQuota({ caller, settings, db });
    const file = await receiveFile({ request: c.req.raw, tenant: caller.tenant, quota, db, bucket: c.env.BUCKET });
    c.set("fileId", file.id);
    return c.json(toFileObject(file));
  })
  .get("/", async (c) => {
    const query = valueOf(parseRequest(fileListQuery, c.req.query()));
    const found = await listFiles(c.var.db, {
      tenant: c.var.caller.tenant,
      purpose: query.purpose ?? null,
      order: query.order,
      limit: query.limit + 1,
      after: query.after === undefined ? null : await requireFile(c, query.after),
      now: new Date(),
    });
    return c.json(toPage(found.slice(0, query.limit).map(toFileObject), found.length > query.limit));
  })
  .all("/", refuseMethod("GET, POST"))
  .get("/:id", async (c) => c.json(toFileObject(await requireFile(c, c.req.param("id")))))
  .delete("/:id", async (c) => {
    const id = c.req.param("id");
    const wanted = { tenant: c.var.caller.tenant, id, now: new Date() };
    if (!(await hideFile(c.var.db, wanted))) throw new ApiError(404, noSuchFile(id));
    c.set("fileId", id);
    // A live batch keeps the bytes of its input; its coordinator removes them.
    if (!(await isInputHeld(c.var.db, id))) await removeFile(c.var.db, c.env.BUCKET, id);
    return c.json(toDeletedFile(id));
  })
  .all("/:id", refuseMethod("GET, DELETE"))
  .get("/:id/content", async (c) => answerContent(c.req.raw, await requireFile(c, c.req.param("id")), c.env.BUCKET))
  .all("/:id/content", refuseMethod("GET"));

/** @throws ApiError 404 for unknown ids and those of other tenants alike. */
async function requireFile(c: Context<CallerEnv>, id: string): Promise<FileRecord> {
  const file = await findFile(c.var.db, { tenant: c.var.caller.tenant, id, now: new Date() });
  if (file === null) throw new ApiError(404, noSuchFile(id));
  c.set("fileId", file.id);
  return file;
}
