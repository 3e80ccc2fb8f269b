/** Gives every request its id and its one log line: what was asked and how it ended, never keys, bodies or names. */
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import { logEvent } from "../log.ts";
import { newId } from "../new-id.ts";
import type { AppEnv } from "./app-env.ts";
import { drainBody } from "./request-body.ts";

export const logRequest = createMiddleware<AppEnv>(async (c, next) => {
  const startedAt = new Date();
  const requestId = newId("req_", startedAt);
  c.set("requestId", requestId);
  await next();
  await drainBody(c.req.raw);
  c.res.headers.set("x-request-id", requestId);
  c.res.headers.set("x-content-type-options", "nosniff");
  logEvent("request", {
    method: c.req.method,
    route: routePath(c, -1),
    status: c.res.status,
    ms: Date.now() - startedAt.getTime(),
    code: c.get("refusal") ?? null,
    request: requestId,
    tenant: c.get("caller")?.tenant ?? null,
    batch: c.get("batchId") ?? null,
    file: c.get("fileId") ?? null,
  });
});
