/** The built-in upstream; see docs/echo-upstream.md. */
import type { EchoUpstream } from "../config.ts";
import { noAnswer, type Outcome } from "../domain/outcome.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** Never throws. */
export async function sendToEcho(_upstream: EchoUpstream, _request: UpstreamRequest): Promise<Outcome> {
  return noAnswer("upstream_unreachable");
}
