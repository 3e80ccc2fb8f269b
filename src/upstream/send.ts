/** Sends one line to its upstream, whatever kind that is. Retrying, and waiting for a slot, is up to the caller. */
import type { Upstream } from "../config.ts";
import type { Outcome } from "../domain/outcome.ts";
import { sendToEcho } from "./echo.ts";
import { sendOverHttp } from "./http.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/**
 * Never throws. Takes at most `upstream.timeoutSeconds`, counted from the call: call it when the line has
 * its slot.
 */
export function sendLine(upstream: Upstream, request: UpstreamRequest): Promise<Outcome> {
  return upstream.kind === "echo" ? sendToEcho(upstream, request) : sendOverHttp(upstream, request);
}
