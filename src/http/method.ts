/** Answers for a known path that is asked with a method it does not have. */
import type { Context } from "hono";
import { noSuchMethod } from "../protocol/request-problems.ts";
import { ApiError } from "./api-error.ts";

/** @param allowed as the `allow` header lists them: `GET, DELETE`. */
export function refuseMethod(allowed: string) {
  return (c: Context): never => {
    throw new ApiError(405, noSuchMethod(c.req.method, c.req.path), { allow: allowed });
  };
}
