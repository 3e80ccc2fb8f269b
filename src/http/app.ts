/** The HTTP side of the service: its routes, and how everything that goes wrong is answered. */
import type { Context } from "hono";
import { Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { SettingsError } from "../config.ts";
import { logFailure } from "../log.ts";
import { type ErrorEnvelope, toErrorEnvelope } from "../protocol/error.ts";
import type { Refusal } from "../protocol/refusal.ts";
import { MISCONFIGURED, noSuchPath, OUR_FAULT } from "../protocol/request-problems.ts";
import { ApiError } from "./api-error.ts";
import type { AppEnv } from "./app-env.ts";
import { checkHealth } from "./health.ts";
import { refuseMethod } from "./method.ts";
import { logRequest } from "./request-log.ts";
import { batches } from "./routes/batches.ts";
import { files } from "./routes/files.ts";

export const app = new Hono<AppEnv>()
  .use(logRequest)
  .get("/healthz", async (c) => {
    const health = await checkHealth(c.req.raw.headers, c.env);
    return c.json(health, health.status === "ok" ? 200 : 503);
  })
  .all("/healthz", refuseMethod("GET"))
  .route("/v1/files", files)
  .route("/v1/batches", batches)
  .notFound((c) => handleError(new ApiError(404, noSuchPath(c.req.method, c.req.path)), c))
  .onError(handleError);

function handleError(error: Error, c: Context<AppEnv>): Response {
  if (error instanceof ApiError) {
    if (error.refusal.code !== null) c.set("refusal", error.refusal.code);
    return c.json(toEnvelope(error.status, error.refusal), error.status, error.headers);
  }
  if (error instanceof SettingsError) {
    logFailure("misconfigured", { request: c.var.requestId }, error);
    return c.json(toEnvelope(500, MISCONFIGURED), 500);
  }
  logFailure("request_failed", { request: c.var.requestId }, error);
  return c.json(toEnvelope(500, OUR_FAULT), 500);
}

function toEnvelope(status: ContentfulStatusCode, refusal: Refusal): ErrorEnvelope {
  return toErrorEnvelope(status >= 500 ? "server_error" : "invalid_request_error", refusal);
}
