/**
 * The Worker's environment with an injector in front of every binding that does I/O. Only what the Worker uses
 * is wrapped; anything else is not there, so that no call slips past the injector.
 */
import type { ClaimReply, Coordinator, QueueMessage, ReportReply } from "../../src/domain/conversation.ts";
import type { Injector, Side } from "./injector.ts";

export interface FaultyEnvOptions {
  readonly injector: Injector;
  readonly side: Side;
  /** Takes the place of the queue. */
  readonly send: (message: QueueMessage) => void;
  readonly queueMetrics: () => QueueMetrics;
  /** Called before a call reaches the coordinator, and after it has had its effect. */
  readonly beforeCoordinator: (batchId: string) => Promise<void>;
  readonly afterCoordinator: (batchId: string) => Promise<void>;
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
    DISPATCHES: faultyQueue(options, inject) as unknown as Queue,
    COORDINATORS: {
      getByName: (batchId: string) => faultyCoordinator(env, batchId, { ...options, inject }),
    } as unknown as Env["COORDINATORS"],
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

function faultyQueue({ send, queueMetrics }: FaultyEnvOptions, inject: Inject) {
  return {
    sendBatch: (messages: Iterable<{ readonly body: QueueMessage }>) =>
      inject("queue.sendBatch", () => {
        for (const { body } of messages) send(body);
        return Promise.resolve();
      }),
    metrics: () => inject("queue.metrics", () => Promise.resolve(queueMetrics())),
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
    report: (report) => call("report", async (stub) => told(report.token, await stub.report(report))),
    deadLettered: (token) => call("deadLettered", (stub) => stub.deadLettered(token)),
    shareChanged: () => call("shareChanged", (stub) => stub.shareChanged()),
    wake: (copy) => call("wake", (stub) => stub.wake(copy)),
  };
}
