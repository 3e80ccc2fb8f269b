/** Answers for a known path that is asked with a method it does not have. */
import type { Context } from "hono";
import { shorten } from "../protocol/refusal.ts";
import { ApiError } from "./api-error.ts";

/** @param allowed as the `allow` header lists them: `GET, DELETE`. */
export function refuseMethod(allowed: string) {
  return (c: Context): never => {
    const message = `Not allowed to ${c.req.method} on ${shorten(c.req.path)}.`;
    throw new ApiError(405, { code: "method_not_supported", message, param: null }, { allow: allowed });
  };
}
