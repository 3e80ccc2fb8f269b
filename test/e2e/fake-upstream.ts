/**
 * An OpenAI-compatible server on a port of its own. Each request carries the script for its answers in its own
 * body, so that a test says beside each line what is to become of it; the server remembers who called, how
 * often, and how many at once.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

/** The member `script` of a request's body. */
export interface Script {
  /** Names the line: the custom_id itself never goes upstream. */
  readonly line: string;
  /** Status of the first call, the second, and so on; the last one stands for all that follow. Usually 200. */
  readonly statuses?: readonly number[];
  /** Answer only after `release()`. */
  readonly isHeld?: boolean;
}

export interface ReceivedRequest {
  readonly line: string;
  readonly path: string;
  readonly authorization: string | undefined;
  /** As it arrived. */
  readonly body: string;
}

export interface FakeUpstream {
  /** Ends in `/v1`. */
  readonly baseUrl: string;
  readonly received: readonly ReceivedRequest[];
  /** Calls of each line whose name starts with the prefix. */
  readonly countCalls: (prefix: string) => ReadonlyMap<string, number>;
  readonly inFlight: () => number;
  readonly mostInFlight: () => number;
  /** Lets all held requests go that are there now or come later. */
  readonly release: () => void;
  readonly stop: () => Promise<void>;
}

/** Numbers that JavaScript would spell differently: they must come back as they stand here. */
export const DELICATE_NUMBERS = '"big":9223372036854775807,"float":1.0,"tiny":1E-7';

/** A key that this server does not know; it knows all others. */
export const UNKNOWN_KEY = "sk-that-nobody-was-given";

export async function startFakeUpstream(): Promise<FakeUpstream> {
  const received: ReceivedRequest[] = [];
  const calls = new Map<string, number>();
  const gate = Promise.withResolvers<undefined>();
  let inFlight = 0;
  let mostInFlight = 0;

  const server = createServer((request, response) => {
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    response.once("close", () => {
      inFlight -= 1;
    });
    answer(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === "GET" && request.url === "/v1/models") {
      const status = request.headers.authorization === `Bearer ${UNKNOWN_KEY}` ? 401 : 200;
      response.writeHead(status, { "content-type": "application/json" });
      response.end(status === 200 ? '{"object":"list","data":[]}' : errorOf(status));
      return;
    }
    const body = await readText(request);
    const { script } = JSON.parse(body) as { script: Script };
    const { line, statuses = [200], isHeld = false } = script;
    const call = (calls.get(line) ?? 0) + 1;
    calls.set(line, call);
    received.push({ line, path: request.url ?? "", authorization: request.headers.authorization, body });
    if (isHeld) await gate.promise;
    const status = statuses[call - 1] ?? statuses.at(-1) ?? 200;
    response.writeHead(status, { "content-type": "application/json", "x-request-id": `req-${line}-${call}` });
    response.end(status < 300 ? completionOf(line) : errorOf(status));
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    received,
    countCalls: (prefix) => new Map([...calls].filter(([line]) => line.startsWith(prefix))),
    inFlight: () => inFlight,
    mostInFlight: () => mostInFlight,
    release: () => gate.resolve(undefined),
    stop: async () => {
      gate.resolve(undefined);
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function readText(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}

function completionOf(line: string): string {
  const choice = `{"index":0,"message":{"role":"assistant","content":"answer to ${line}"},"finish_reason":"stop"}`;
  const usage = '{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}';
  return `{"id":"chatcmpl-${line}","object":"chat.completion","created":1,"model":"m",${DELICATE_NUMBERS},"choices":[${choice}],"usage":${usage}}`;
}

function errorOf(status: number): string {
  return JSON.stringify({ error: { message: `scripted ${status}`, type: "scripted", param: null, code: null } });
}
