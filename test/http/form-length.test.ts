/** The length of a whole form, whatever it consists of. The length of its file: files.test.ts. */
import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { MAX_FORM_BYTES } from "../../src/domain/limits.ts";
import { encode, envelope, upload, writeForm } from "../support/service.ts";

const PATIENCE_MS = 120_000;

const form = writeForm([
  { name: "purpose", content: "batch" },
  { name: "file", filename: "input.jsonl", content: "{}" },
]);

/** A short form, and behind its closing boundary whatever is missing to the length. Tells each piece. */
function send(bytes: number, tell: (pieceBytes: number) => void = () => {}) {
  let rest = bytes;
  let isFirst = true;
  const body = new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (rest === 0) {
        controller.close();
        controller.byobRequest?.respond(0);
        return;
      }
      const piece = isFirst ? form.slice() : encode("x".repeat(Math.min(rest, 1024 * 1024)));
      isFirst = false;
      rest -= piece.length;
      tell(piece.length);
      controller.enqueue(piece);
    },
  });
  return upload(body);
}

describe("a form", () => {
  test("is read to its end, whatever stands there", { timeout: PATIENCE_MS }, async () => {
    expect((await send(MAX_FORM_BYTES)).status).toBe(200);
  });

  test("is refused with a byte more, and leaves nothing", { timeout: PATIENCE_MS }, async () => {
    const before = (await env.BUCKET.list()).objects.length;
    const { status, json } = await send(MAX_FORM_BYTES + 1);
    expect([status, json]).toEqual([413, envelope({ message: `A form may have at most ${MAX_FORM_BYTES} bytes.` })]);
    expect((await env.BUCKET.list()).objects).toHaveLength(before);
  });

  test("without an end is not read for ever", { timeout: PATIENCE_MS }, async () => {
    let sentBytes = 0;
    const { status } = await send(Infinity, (bytes) => {
      sentBytes += bytes;
    });
    expect(status).toBe(413);
    // What is read to be thrown away, so that the client sees the answer, has its own end.
    expect(sentBytes).toBeLessThan(3 * MAX_FORM_BYTES);
  });
});
