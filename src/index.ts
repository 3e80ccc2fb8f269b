/** The Worker: HTTP requests, queue messages, and the class of its Durable Objects. */
import { settingsOf } from "./config.ts";
import { app } from "./http/app.ts";
import { consumeQueue } from "./queue/consumer.ts";
import { env } from "cloudflare:workers";

export { BatchCoordinator } from "./batch/coordinator.ts";

// A mistake in the settings is said at start, not at the first request.
try {
  settingsOf(env);
} catch (error) {
  console.error(`misconfigured: ${error instanceof Error ? error.message : String(error)}`);
}

export default {
  fetch: app.fetch,
  queue: consumeQueue,
} satisfies ExportedHandler<Env>;
