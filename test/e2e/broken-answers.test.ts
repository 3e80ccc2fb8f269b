/** A batch whose upstream does to some lines what servers do: real sockets, and the memory of the real runtime. */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { watchProcesses } from "../../bench/rig/processes.ts";
import { startLocalStack } from "../../scripts/local-stack.ts";
import { chatLine, createBatch, readResults, waitForBatch } from "./nightshift.ts";

const HUGE_BYTES = 300 * 1024 * 1024;
/** Held whole, the huge answers and those of a wrong length would take 3,600 MB. */
const MAX_GROWTH_BYTES = 512 * 1024 * 1024;
const KINDS = ["hangs", "stops", "breaks", "page", "huge", "longer"] as const;
const LINES_OF_KIND = 6;
const GOOD_LINES = 60;

type Kind = (typeof KINDS)[number];

/** Of an answer that says ten bytes and is far longer. RFC 9112, 6.3: the chunks count. */
const LONGER_HEADERS = ["content-type: application/json", "content-length: 10", "transfer-encoding: chunked"];
const CRLF = Buffer.from("\r\n");
const PAGE = "<!doctype html>\n<title>Not the API</title>\n";
const COMPLETION = JSON.stringify({ id: "chatcmpl-1", object: "chat.completion", choices: [], usage: null });

describe("an upstream that hangs, breaks off, answers with pages, with 300 MB, and with more than it says", () => {
  test("costs those lines alone, and no memory to speak of", async () => {
    const upstream = await startRudeUpstream();
    const rude = { kind: "http", base_url: upstream.baseUrl, timeout_seconds: 3, max_in_flight: 64 };
    const stack = await startLocalStack({
      variables: { UPSTREAMS: JSON.stringify({ rude }), DEFAULT_UPSTREAM: "rude" },
    });
    const processes = watchProcesses(stack.pid);
    try {
      const client = new OpenAI({ baseURL: `${stack.origin}/v1`, apiKey: stack.apiKey });
      const atRest = processes.takePeakBytes() ?? 0;
      const bad = KINDS.flatMap((kind) => Array.from({ length: LINES_OF_KIND }, (_, index) => `${kind}-${index}`));
      const good = Array.from({ length: GOOD_LINES }, (_, index) => `good-${index}`);
      const created = await createBatch(
        client,
        [...bad, ...good].map((line) => chatLine({ line })),
      );
      const batch = await waitForBatch(client, created.id);
      const grownBytes = (processes.takePeakBytes() ?? 0) - atRest;

      expect(batch.status).toBe("completed");
      const errors = await readResults(client, batch.error_file_id);
      const codes = errors.map((line) => `${line.custom_id.split("-")[0]}: ${line.error?.code}`);
      expect(new Set(codes)).toEqual(
        new Set(["page: invalid_response", "huge: response_too_large", "longer: response_too_large"]),
      );
      expect(errors).toHaveLength(3 * LINES_OF_KIND);
      expect(await readResults(client, batch.output_file_id)).toHaveLength(3 * LINES_OF_KIND + GOOD_LINES);
      expect(grownBytes, "bytes more than at rest").toBeLessThan(MAX_GROWTH_BYTES);
    } finally {
      processes.stop();
      await stack.stop();
      await upstream.stop();
    }
  });
});

/** Does to a line what its name says; what would be tried again goes well the second time. */
async function startRudeUpstream() {
  const seen = new Set<string>();
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const { script } = JSON.parse(Buffer.concat(pieces).toString()) as { script: { line: string } };
      const isFirst = !seen.has(script.line);
      seen.add(script.line);
      answer(script.line.split("-")[0] as Kind | "good", isFirst, response).catch(() => response.destroy());
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function answer(kind: Kind | "good", isFirst: boolean, response: ServerResponse): Promise<void> {
  if (kind === "page") {
    response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    return;
  }
  if (kind === "huge") {
    response.writeHead(200, { "content-type": "application/json" });
    await pipeline(Readable.from(hugeText()), response);
    return;
  }
  if (kind === "longer") {
    // Node's own writer refuses these two headers together.
    const { socket } = response;
    if (socket === null) return;
    socket.write(`HTTP/1.1 200 OK\r\n${LONGER_HEADERS.join("\r\n")}\r\n\r\n`);
    await pipeline(Readable.from(inChunks(hugeText())), socket);
    return;
  }
  if (isFirst && kind === "hangs") return;
  response.writeHead(200, { "content-type": "application/json" });
  if (!isFirst || kind === "good") {
    response.end(COMPLETION);
    return;
  }
  response.write(COMPLETION.slice(0, 20));
  if (kind === "breaks") setImmediate(() => response.destroy());
}

function* hugeText() {
  const piece = Buffer.alloc(64 * 1024, "x");
  for (let bytes = 0; bytes < HUGE_BYTES; bytes += piece.length) yield piece;
}

/** RFC 9112, 7.1. */
function* inChunks(pieces: Iterable<Buffer>) {
  for (const piece of pieces) yield Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, CRLF]);
  yield Buffer.from("0\r\n\r\n");
}
