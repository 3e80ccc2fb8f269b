/**
 * The edge in one process: the project's own coordinator, consumer and upstream client, unchanged, on top of a queue,
 * objects and alarms that follow a virtual clock. The caller brings the storage: in memory, or real and counted.
 */
import type { BatchCoordinator } from "../../src/batch/coordinator.ts";
import type { Coordinator } from "../../src/domain/conversation.ts";
import type { Pacer } from "../../src/domain/grant.ts";
import type { UpstreamPacer } from "../../src/pacer/upstream-pacer.ts";
import { consumeQueue } from "../../src/queue/consumer.ts";
import type { UpstreamModel } from "./upstream-model.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import { VirtualQueue } from "./virtual-queue.ts";

export interface EdgeUpstream {
  readonly name: string;
  readonly model: UpstreamModel;
  /** The setting `max_in_flight`. */
  readonly maxInFlight: number;
}

export interface ObjectAlarm {
  readonly set: (timeMs: number) => void;
  readonly clear: () => void;
}

export interface EdgeOptions {
  readonly clock: VirtualClock;
  readonly upstreams: readonly EdgeUpstream[];
  readonly linesPerInvocation: number;
  readonly scaling: "at_once" | "by_completions";
  /** How many dispatch queues there are. */
  readonly queues: number;
  readonly bucket: R2Bucket;
  readonly database: D1Database;
  readonly makeCoordinator: (name: string, alarm: ObjectAlarm, env: Env) => BatchCoordinator;
  readonly makePacer: (name: string, alarm: ObjectAlarm, env: Env) => UpstreamPacer;
  /** Called once for each call of an object, on the way there. */
  readonly travel: () => Promise<void>;
}

export interface Edge {
  readonly env: Env;
  readonly queues: readonly VirtualQueue[];
  readonly coordinatorOf: (batchId: string) => Coordinator;
  /** Calls and alarms. */
  readonly objectRequests: () => { readonly calls: number; readonly alarms: number };
}

/** wrangler.toml. */
const MAX_CONCURRENCY = 250;
const MAX_RETRIES = 5;
/** From `send` until a consumer that is free has it: a round figure. */
const DELIVERY_MS = 200;

const executionContext = { waitUntil: () => undefined, passThroughOnException: () => undefined };

export function buildEdge(options: EdgeOptions): Edge {
  const { clock, upstreams, travel } = options;
  const requests = { calls: 0, alarms: 0 };

  /** Objects of one class by name, each with its alarm. */
  function namespaceOf<Instance extends { readonly alarm: () => Promise<void> }>(
    make: (name: string, alarm: ObjectAlarm, env: Env) => Instance,
  ): (name: string) => Instance {
    const objects = new Map<string, Instance>();
    return (name) => {
      const known = objects.get(name);
      if (known !== undefined) return known;
      let alarm: number | undefined;
      let ringing = Promise.resolve();
      // As on the platform, one that is due while another runs waits for its end.
      async function ring(before: Promise<void>): Promise<void> {
        await before;
        requests.alarms += 1;
        await object.alarm();
      }
      const object = make(
        name,
        {
          set: (timeMs) => {
            clock.cancel(alarm);
            alarm = clock.at(timeMs, () => {
              alarm = undefined;
              ringing = ring(ringing);
            });
          },
          clear: () => clock.cancel(alarm),
        },
        env,
      );
      objects.set(name, object);
      return object;
    };
  }

  async function arrive(): Promise<void> {
    requests.calls += 1;
    await travel();
  }
  const coordinators = namespaceOf(options.makeCoordinator);
  const pacers = namespaceOf(options.makePacer);
  const coordinatorOf = (name: string) => countCalls(coordinators(name), arrive);

  const queues = Array.from(
    { length: options.queues },
    (_, index) =>
      new VirtualQueue({
        name: `nightshift-dispatches-${index + 1}`,
        clock,
        consume: (batch) => consumeQueue(batch, env, executionContext as unknown as ExecutionContext),
        maxConcurrency: MAX_CONCURRENCY,
        maxRetries: MAX_RETRIES,
        deliveryMs: DELIVERY_MS,
        scaling: options.scaling,
        deadLetter: () => {
          throw new Error("no message may be given up here");
        },
      }),
  );
  const env = {
    BUCKET: options.bucket,
    DB: options.database,
    ...bindQueues(queues),
    COORDINATORS: { getByName: coordinatorOf },
    PACERS: { getByName: (name: string) => countPacerCalls(pacers(name), arrive) },
    ...settingsFor(upstreams, options.linesPerInvocation),
  } as unknown as Env;
  return { env, queues, coordinatorOf, objectRequests: () => requests };
}

/** `DISPATCHES`, `DISPATCHES_2` and so on. */
function bindQueues(queues: readonly VirtualQueue[]): Readonly<Record<string, unknown>> {
  const bindings = queues.map((queue, index) => {
    const binding = {
      sendBatch: (messages: Iterable<{ readonly body: unknown }>) => {
        for (const { body } of messages) queue.send(body);
        return Promise.resolve();
      },
      metrics: () => Promise.resolve(queue.metrics()),
    };
    return [index === 0 ? "DISPATCHES" : `DISPATCHES_${index + 1}`, binding] as const;
  });
  return Object.fromEntries(bindings);
}

/** Of all queues together. */
export function sumOfQueues({ queues }: Edge, count: "depth" | "running" | "sent" | "deliveries"): number {
  return queues.reduce((sum, queue) => sum + queue[count], 0);
}

/** Stands in for `fetch`. */
export function routeFetch(upstreams: readonly EdgeUpstream[]): typeof fetch {
  const byHost = new Map(upstreams.map(({ name, model }) => [originOf(name), model]));
  return (url) => {
    if (typeof url !== "string") throw new TypeError("the service names its upstreams by text");
    const model = byHost.get(url.slice(0, url.indexOf("/", "http://".length)));
    if (model === undefined) throw new Error(`there is no upstream at ${url}`);
    return model.fetch();
  };
}

/** As on the edge: five lines an invocation, and consumers that wait for their lines. */
function settingsFor(upstreams: readonly EdgeUpstream[], linesPerInvocation: number) {
  const table = upstreams.map(({ name, maxInFlight }) => [
    name,
    { kind: "http", base_url: originOf(name), max_in_flight: maxInFlight },
  ]);
  return {
    ADMIN_API_KEY: "sk-bench",
    UPSTREAMS: Object.fromEntries(table) as object,
    DEFAULT_UPSTREAM: upstreams[0]?.name ?? "",
    COMPLETION_WINDOWS: "24h",
    LINES_PER_INVOCATION: String(linesPerInvocation),
    CONSUMER_WAITS: "true",
    MAX_LINES_PER_BATCH: "50000",
  };
}

function originOf(upstream: string): string {
  return `http://${upstream}.test`;
}

function countCalls(object: Coordinator, arrive: () => Promise<void>): Coordinator {
  async function call<Value>(ask: () => Promise<Value>): Promise<Value> {
    await arrive();
    return ask();
  }
  return {
    start: (order) => call(() => object.start(order)),
    snapshot: () => call(() => object.snapshot()),
    cancel: () => call(() => object.cancel()),
    claim: (token) => call(() => object.claim(token)),
    claimNext: (slots) => call(() => object.claimNext(slots)),
    report: (report) => call(() => object.report(report)),
    deadLettered: (token) => call(() => object.deadLettered(token)),
    takeGrant: (grant) => call(() => object.takeGrant(grant)),
    describeLoad: () => call(() => object.describeLoad()),
    wake: (copy) => call(() => object.wake(copy)),
  };
}

function countPacerCalls(object: Pacer, arrive: () => Promise<void>): Pacer {
  return {
    tell: async (statement) => {
      await arrive();
      return object.tell(statement);
    },
    findWork: async (slots) => {
      await arrive();
      return object.findWork(slots);
    },
  };
}
