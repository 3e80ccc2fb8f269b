/**
 * The Worker's environment with an injector in front of every binding that does I/O. Only what the Worker uses
 * is wrapped; anything else is not there, so that no call slips past the injector.
 */
import type { ClaimReply, Coordinator, QueueMessage, ReportReply } from "../../src/domain/conversation.ts";
import type { Pacer } from "../../src/domain/grant.ts";
import { consumerLifetime, type Injector, type Side } from "./injector.ts";

export interface FaultyEnvOptions {
  readonly injector: Injector;
  readonly side: Side;
  /** How many dispatch queues there are. */
  readonly queues: number;
  /** These take the place of the queues, which are counted from 0. */
  readonly send: (queue: number, message: QueueMessage) => void;
  readonly queueMetrics: (queue: number) => QueueMetrics;
  /** Called before a call reaches the coordinator, and after it has had its effect. */
  readonly beforeCoordinator: (batchId: string) => Promise<void>;
  readonly afterCoordinator: (batchId: string) => Promise<void>;
  /** Called before a call reaches a pacer. */
  readonly beforePacer: (name: string) => Promise<void>;
  /** The coordinator has answered a claim or a report under this token, whether or not the answer arrives. */
  readonly onReply: (batchId: string, token: string, reply: ClaimReply | ReportReply) => void;
  /** Variables in place of the deployment's. */
  readonly settings: Readonly<Record<string, unknown>>;
}

type Inject = <Value>(site: string, effect: () => Promise<Value>) => Promise<Value>;

export function faultyEnv(env: Env, options: FaultyEnvOptions): Env {
  const inject: Inject = (site, effect) => options.injector.call(options.side, site, effect);
  return {
    ...env,
    ...options.settings,
    BUCKET: faultyBucket(env.BUCKET, inject) as unknown as R2Bucket,
    DB: faultyDatabase(env.DB, inject) as unknown as D1Database,
    ...Object.fromEntries(Array.from({ length: options.queues }, (_, queue) => faultyQueue(queue, options, inject))),
    COORDINATORS: {
      getByName: (batchId: string) => faultyCoordinator(env, batchId, { ...options, inject }),
    } as unknown as Env["COORDINATORS"],
    PACERS: {
      getByName: (name: string) => faultyPacer(env, name, { ...options, inject }),
    } as unknown as Env["PACERS"],
  };
}

function faultyBucket(bucket: R2Bucket, inject: Inject) {
  return {
    get: async (key: string, options?: R2GetOptions) => {
      const object = await inject("bucket.get", () => bucket.get(key, options));
      if (object === null) return null;
      try {
        return await inject("bucket.body", () => Promise.resolve(object));
      } catch (error) {
        await object.body.cancel();
        return brokenObject(object, error);
      }
    },
    put: (key: string, value: ReadableStream | ArrayBufferView | string, options?: R2PutOptions) =>
      inject("bucket.put", () => bucket.put(key, value, options)),
    head: (key: string) => inject("bucket.head", () => bucket.head(key)),
    list: (options: R2ListOptions) => inject("bucket.list", () => bucket.list(options)),
    delete: (keys: string | string[]) => inject("bucket.delete", () => bucket.delete(keys)),
    createMultipartUpload: async (key: string) =>
      faultyMultipart(await inject("bucket.createMultipartUpload", () => bucket.createMultipartUpload(key)), inject),
  };
}

/** Its bytes may stop after the first. */
function brokenObject(object: R2ObjectBody, reason: unknown) {
  let isBegun = false;
  const body = new ReadableStream({
    type: "bytes",
    pull: (controller) => {
      if (isBegun) controller.error(reason);
      else controller.enqueue(new Uint8Array(1));
      isBegun = true;
    },
  });
  return { size: object.size, body, arrayBuffer: () => Promise.reject(reason) };
}

function faultyMultipart(multipart: R2MultipartUpload, inject: Inject) {
  return {
    key: multipart.key,
    uploadId: multipart.uploadId,
    uploadPart: (number: number, part: ArrayBufferView) =>
      inject("multipart.uploadPart", () => multipart.uploadPart(number, part)),
    complete: (parts: R2UploadedPart[]) => inject("multipart.complete", () => multipart.complete(parts)),
    abort: () => inject("multipart.abort", () => multipart.abort()),
  };
}

function faultyDatabase(db: D1Database, inject: Inject) {
  const originals = new WeakMap<object, D1PreparedStatement>();
  function wrap(statement: D1PreparedStatement) {
    const wrapped = {
      bind: (...values: unknown[]) => wrap(statement.bind(...values)),
      run: () => inject("db.run", () => statement.run()),
      all: () => inject("db.all", () => statement.all()),
      first: (column?: string) =>
        inject("db.first", () => (column === undefined ? statement.first() : statement.first(column))),
    };
    originals.set(wrapped, statement);
    return wrapped;
  }
  return {
    prepare: (sql: string) => wrap(db.prepare(sql)),
    batch: (statements: readonly object[]) => {
      const known = statements.map((statement) => originals.get(statement));
      return inject("db.batch", () => db.batch(known.filter((statement) => statement !== undefined)));
    },
  };
}

/** The binding's name, and what stands there. The sites of further queues have their number: `queue.sendBatch 2`. */
function faultyQueue(queue: number, { send, queueMetrics }: FaultyEnvOptions, inject: Inject) {
  const number = queue === 0 ? "" : ` ${queue + 1}`;
  const binding = {
    sendBatch: (messages: Iterable<{ readonly body: QueueMessage }>) =>
      inject(`queue.sendBatch${number}`, () => {
        for (const { body } of messages) send(queue, body);
        return Promise.resolve();
      }),
    metrics: () => inject(`queue.metrics${number}`, () => Promise.resolve(queueMetrics(queue))),
  };
  return [queue === 0 ? "DISPATCHES" : `DISPATCHES_${queue + 1}`, binding] as const;
}

function faultyPacer(
  env: Env,
  name: string,
  { inject, beforePacer }: FaultyEnvOptions & { readonly inject: Inject },
): Pacer {
  return {
    tell: (statement) =>
      inject("pacer.tell", async () => {
        await beforePacer(name);
        return env.PACERS.getByName(name).tell(statement);
      }),
    findWork: (slots) =>
      inject("pacer.findWork", async () => {
        await beforePacer(name);
        return env.PACERS.getByName(name).findWork(slots);
      }),
  };
}

/**
 * A stub that has failed once stays broken, as many failures leave it
 * (developers.cloudflare.com/durable-objects/best-practices/error-handling).
 */
function faultyCoordinator(
  env: Env,
  batchId: string,
  { inject, beforeCoordinator, afterCoordinator, onReply }: FaultyEnvOptions & { readonly inject: Inject },
): Coordinator {
  let isBroken = false;
  async function call<Value>(method: string, effect: (stub: Coordinator) => Promise<Value>): Promise<Value> {
    try {
      return await inject(`coordinator.${method}`, async () => {
        if (isBroken) throw new Error("the stub is broken");
        await beforeCoordinator(batchId);
        const value = await effect(env.COORDINATORS.getByName(batchId));
        await afterCoordinator(batchId);
        return value;
      });
    } catch (error) {
      isBroken = true;
      throw error;
    }
  }
  function told<Reply extends ClaimReply | ReportReply>(token: string, reply: Reply): Reply {
    onReply(batchId, token, reply);
    return reply;
  }
  return {
    start: (order) => call("start", (stub) => stub.start(order)),
    snapshot: () => call("snapshot", (stub) => stub.snapshot()),
    cancel: () => call("cancel", (stub) => stub.cancel()),
    claim: (token) => call("claim", async (stub) => told(token, await stub.claim(token))),
    claimNext: (slots) =>
      call("claimNext", async (stub) => {
        const next = await stub.claimNext(slots);
        if (next === null) return null;
        consumerLifetime.getStore()?.tokens.add(next.token);
        told(next.token, next);
        return next;
      }),
    report: (report) => call("report", async (stub) => told(report.token, await stub.report(report))),
    deadLettered: (token) => call("deadLettered", (stub) => stub.deadLettered(token)),
    takeGrant: (grant) => call("takeGrant", (stub) => stub.takeGrant(grant)),
    describeLoad: () => call("describeLoad", (stub) => stub.describeLoad()),
    wake: (copy) => call("wake", (stub) => stub.wake(copy)),
  };
}
