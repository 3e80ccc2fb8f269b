/** The Worker: HTTP requests, queue messages, and the class of its Durable Objects. */
import { env } from "cloudflare:workers";
import { settingsOf } from "./config.ts";
import { missingConsumers } from "./domain/consumers.ts";
import { app } from "./http/app.ts";
import { logEvent, logFailure } from "./log.ts";
import { consumeQueue } from "./queue/consumer.ts";
import { sweep } from "./sweep/sweep.ts";

export { BatchCoordinator } from "./batch/coordinator.ts";
export { UpstreamPacer } from "./pacer/upstream-pacer.ts";

// A mistake in the settings is said at start, not at the first request.
try {
  const { upstreams, linesPerInvocation, dispatchQueues } = settingsOf(env);
  const limits = [...upstreams.values()].map(({ maxInFlight }) => maxInFlight);
  const missing = missingConsumers(limits, { linesPerInvocation, queues: dispatchQueues.length });
  if (missing !== null) logEvent("too_few_consumers", missing);
} catch (error) {
  logFailure("misconfigured", {}, error);
}

export default {
  fetch: app.fetch,
  queue: consumeQueue,
  scheduled: async (controller, handlerEnv) => {
    await sweep(handlerEnv, new Date(controller.scheduledTime));
  },
} satisfies ExportedHandler<Env>;
