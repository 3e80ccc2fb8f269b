import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { holdClockAndQueue } from "../support/held-batch.ts";
import { BOUNDARY, type Part, writeForm } from "../support/service.ts";
import { sendChecked } from "./checked-replies.ts";
import { fuzz, timeoutOf } from "./fuzz.ts";
import { anyText, type Mutation, mutate, mutation, nastyText } from "./texts.ts";
import { countTraces, deleteFile, NO_TRACES } from "./traces.ts";

const FORMS = { percent: 40 };

holdClockAndQueue();

beforeAll(async () => {
  await sendChecked("/v1/files");
});

interface FormInput {
  readonly parts: readonly Part[];
  readonly contentType: string;
  readonly mutations: readonly Mutation[];
  /** How much of it arrives, and whether the connection then breaks. */
  readonly sentShare: number;
  readonly end: "close" | "break";
  /** Null: in one piece. */
  readonly chunkBytes: number | null;
}

const content = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('{"a":1}\n', "{}", "{}\r\n\r\n", '\uFEFF{"a":1}\n[', "[]", "") },
  {
    weight: 2,
    arbitrary: fc.constantFrom(`\r\n--${BOUNDARY}`, `\r\n--${BOUNDARY}--`, `--${BOUNDARY.slice(1)}`, "\r\n-", "\r"),
  },
  { weight: 2, arbitrary: anyText },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
  { weight: 1, arbitrary: fc.constant("x".repeat(20_000)) },
);

const filePart: fc.Arbitrary<Part> = fc.record({
  name: fc.constant("file"),
  filename: fc.oneof(
    fc.constant("input.jsonl"),
    anyText.map((name) => name.replaceAll("\r\n", "")),
  ),
  content,
});

const purposePart: fc.Arbitrary<Part> = fc.record({
  name: fc.constant("purpose"),
  content: fc.oneof(
    { weight: 8, arbitrary: fc.constant("batch") },
    { weight: 1, arbitrary: fc.constantFrom("user_data", "batch_output", "fine-tune", "vision") },
    { weight: 1, arbitrary: anyText },
  ),
});

const oddPart: fc.Arbitrary<Part> = fc.oneof(
  fc.record({
    name: fc.constantFrom("expires_after[anchor]", "expires_after[seconds]", "expires_after", "file", "purpose"),
    content: fc.oneof(fc.constantFrom("created_at", "3600", "3599", "2592001", "1e4", "３６００"), anyText),
  }),
  fc.record({ name: anyText, content }),
  fc.record({ name: anyText, filename: anyText, content }),
);

const parts = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(filePart, purposePart) },
  { weight: 3, arbitrary: fc.tuple(purposePart, filePart) },
  { weight: 3, arbitrary: fc.tuple(purposePart, oddPart, filePart, oddPart) },
  { weight: 1, arbitrary: fc.array(oddPart, { maxLength: 40 }) },
);

const contentType = fc.oneof(
  { weight: 40, arbitrary: fc.constant(`multipart/form-data; boundary=${BOUNDARY}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(`multipart/form-data; boundary="${BOUNDARY}"; charset=utf-8`, "multipart/form-data"),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom("multipart/form-data; boundary=", "multipart/mixed; boundary=", "", "application/json"),
        nastyText,
      )
      .map(([start, end]) => (start + end).replaceAll(/[^\x20-\x7e]/g, "")),
  },
  { weight: 1, arbitrary: fc.constantFrom("; ".repeat(5000), `multipart/form-data${"; boundary= ".repeat(2000)}`) },
);

const formInput: fc.Arbitrary<FormInput> = fc.record({
  parts,
  contentType,
  mutations: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 4 }) },
  ),
  sentShare: fc.oneof(
    { weight: 9, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
  ),
  end: fc.oneof(
    { weight: 9, arbitrary: fc.constant("close" as const) },
    { weight: 1, arbitrary: fc.constant("break" as const) },
  ),
  chunkBytes: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 300 }) },
  ),
});

function toBody({ parts: made, mutations, sentShare, end, chunkBytes }: FormInput): BodyInit {
  const whole = mutate(writeForm(made), mutations);
  const sent = whole.subarray(0, Math.ceil(whole.length * sentShare));
  if (chunkBytes === null && end === "close") return sent;
  let at = 0;
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (at < sent.length) {
        const chunk = sent.slice(at, at + Math.max(chunkBytes ?? sent.length, Math.ceil(sent.length / 200)));
        at += chunk.length;
        controller.enqueue(chunk);
      } else if (end === "break") controller.error(new Error("the client hung up"));
      else {
        controller.close();
        controller.byobRequest?.respond(0);
      }
    },
  });
}

test(
  "an upload of anything is taken or refused, and leaves nothing when it is refused",
  () =>
    fuzz(FORMS, formInput, async (input) => {
      const reply = await sendChecked("/v1/files", {
        method: "POST",
        body: toBody(input),
        headers: { authorization: "Bearer sk-test", "content-type": input.contentType },
      });
      if (reply.status === 200) {
        expect(await countTraces()).toEqual({ files: 1, batches: 0, objects: 1 });
        const id = String(reply.json["id"]);
        const listed = await sendChecked(`/v1/files/${id}`);
        expect(listed.json).toEqual(reply.json);
        const download = await sendChecked(`/v1/files/${id}/content`);
        if (reply.json["purpose"] === "batch") expectSafeName(download.headers.get("content-disposition"));
        await deleteFile(id);
      }
      expect(await countTraces()).toEqual(NO_TRACES);
    }),
  timeoutOf(FORMS),
);

/** One line, one name, no folder, nothing that ends the name early. */
function expectSafeName(disposition: string | null): void {
  expect(disposition).toMatch(/^attachment; filename="[^"\\\p{Cc}/]+"(; filename\*=UTF-8''[\w.~%$&+^`|{}#-]+)?$/u);
}
