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
  switch (upstream.kind) {
    case "echo":
      return sendToEcho(upstream, request);
    case "http":
      return sendOverHttp(upstream, request);
  }
}
