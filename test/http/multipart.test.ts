import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MultipartScanner } from "../../src/http/multipart.ts";
import { BOUNDARY, encode, join, type Part, writeForm } from "../support/service.ts";

const CONTENT_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;

interface ReadPart {
  readonly name: string;
  readonly filename: string | null;
  readonly content: string;
}

/** @param cuts where the bytes are cut into chunks, in any order. */
function read(bytes: Uint8Array, cuts: readonly number[] = [], contentType = CONTENT_TYPE): ReadPart[] {
  const scanner = new MultipartScanner(contentType);
  const parts: ReadPart[] = [];
  let pieces: Uint8Array[] = [];
  let at = 0;
  for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    // As the reader of request bodies does: the chunk's memory is used again.
    const chunk = bytes.slice(at, cut);
    for (const event of scanner.push(chunk)) {
      if (event.kind === "bytes") pieces.push(event.bytes.slice());
      else if (event.kind === "part") parts.push({ ...event.head, content: "" });
      else {
        const last = parts.pop();
        if (last === undefined) throw new Error("a part ended before it began");
        // Latin-1 shows every byte.
        parts.push({ ...last, content: new TextDecoder("latin1").decode(join(pieces)) });
        pieces = [];
      }
    }
    chunk.fill(0);
    at = cut;
  }
  scanner.finish();
  return parts;
}

function text(lines: readonly string[]): Uint8Array {
  return encode(lines.join("\r\n"));
}

describe("a multipart form", () => {
  test("gives its parts in order, with names and bytes", () => {
    const form = writeForm([
      { name: "file", filename: "a.jsonl", content: '{"a":1}\r\n\r\n' },
      { name: "purpose", content: "batch" },
      { name: "empty", content: "" },
    ]);
    expect(read(form)).toEqual([
      { name: "file", filename: "a.jsonl", content: '{"a":1}\r\n\r\n' },
      { name: "purpose", filename: null, content: "batch" },
      { name: "empty", filename: null, content: "" },
    ]);
  });

  test("may have no part", () => {
    expect(read(text([`--${BOUNDARY}--`]))).toEqual([]);
  });

  test("may have a preamble, an epilogue, and blanks behind its boundaries", () => {
    const form = [
      "This is a message",
      `--${BOUNDARY} \t`,
      "content-DISPOSITION: form-data; name=a",
      "",
      "x",
      `--${BOUNDARY}--`,
      `--${BOUNDARY}`,
      "not a part",
    ];
    expect(read(text(form))).toEqual([{ name: "a", filename: null, content: "x" }]);
  });

  test.each([
    ['name="file"; filename="日本 naïve.jsonl"', "日本 naïve.jsonl"],
    ['name="file"; filename="say \\"hi\\".jsonl"', 'say "hi".jsonl'],
    ['name="file"; filename="C:\\dir\\a.jsonl"', "C:\\dir\\a.jsonl"],
    ['filename="a;b.jsonl"; name="file"', "a;b.jsonl"],
    ["name=file; filename=a.jsonl", "a.jsonl"],
    ['name="file"; filename=""', ""],
    ['name="file"; filename="a.jsonl"; filename*=UTF-8\'\'na%C3%AFve.jsonl', "naïve.jsonl"],
    ['name="file"; filename="a.jsonl"; filename*=UTF-8\'\'%FF%', "a.jsonl"],
    ['name="file"; filename="a.jsonl"; filename*=shift-jis\'\'a', "a.jsonl"],
    ["name=\"file\"; filename*=UTF-8''na%C3%AFve.jsonl", "naïve.jsonl"],
    ['name="file"; xfilename="a"', null],
    ['name="file"; filename="say %22hi%22.jsonl"', 'say "hi".jsonl'],
    ['name="file"; filename="a%0D%0Ab.jsonl"', "a\r\nb.jsonl"],
    ['name="file"; filename="100%.jsonl"', "100%.jsonl"],
    ['name="file"; filename="a%2522%5C%0a.jsonl"', "a%2522%5C%0a.jsonl"],
    ['name="file"; filename="\\\\%22.jsonl"', '\\".jsonl'],
    ["name=file; filename=a%22.jsonl", "a%22.jsonl"],
    ['\tname="file";\tfilename\t=\t"a.jsonl"', "a.jsonl"],
    ['name="file";\t filename=a.jsonl\t', "a.jsonl"],
  ])("reads the filename of %s", (disposition, filename) => {
    const form = [`--${BOUNDARY}`, `Content-Disposition: form-data; ${disposition}`, "", "x", `--${BOUNDARY}--`];
    expect(read(text(form))).toEqual([{ name: "file", filename, content: "x" }]);
  });

  test.each(["UTF-8''%FF%", "shift-jis''a", "a.jsonl"])(
    "is refused in true words when all it has is filename*=%s",
    (value) => {
      const form = [`--${BOUNDARY}`, `Content-Disposition: form-data; name="file"; filename*=${value}`, "", "x"];
      expect(() => read(text(form))).toThrow("its 'filename*' is not encoded as UTF-8''…");
    },
  );

  test("has the names of its fields unescaped as well", () => {
    const form = [`--${BOUNDARY}`, 'Content-Disposition: form-data; name="a%22b"', "", "x", `--${BOUNDARY}--`];
    expect(read(text(form))).toEqual([{ name: 'a"b', filename: null, content: "x" }]);
  });

  test.each([
    ["multipart/form-data; boundary=abc", "abc"],
    ["multipart/form-data\t;\tboundary=abc\t; x=y", "abc"],
    ['Multipart/Form-Data;boundary="a b:c"', "a b:c"],
    ["multipart/form-data; charset=utf-8; boundary=abc; x=y", "abc"],
    [`multipart/form-data; boundary=${"b".repeat(70)}`, "b".repeat(70)],
  ])("has the boundary of %s", (contentType, boundary) => {
    const form = writeForm([{ name: "a", content: "x" }], boundary);
    expect(read(form, [], contentType)).toHaveLength(1);
  });

  test.each([
    "",
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/mixed; boundary=abc",
    `multipart/form-data; boundary=${"b".repeat(71)}`,
  ])("is not announced by '%s'", (contentType) => {
    expect(() => new MultipartScanner(contentType)).toThrow("Expected a multipart/form-data request with a boundary.");
  });

  const head = 'Content-Disposition: form-data; name="a"';

  test.each([
    ["is empty", []],
    ["has another boundary", ["--other", head, "", "x", "--other--"]],
    ["ends within a head", [`--${BOUNDARY}`, head]],
    ["ends within a part", [`--${BOUNDARY}`, head, "", "x"]],
    ["ends with half a boundary", [`--${BOUNDARY}`, head, "", "x", `--${BOUNDARY.slice(0, -1)}`]],
    ["ends before its boundary is closed", [`--${BOUNDARY}`, head, "", "x", `--${BOUNDARY}-`]],
    ["has a part without a head", [`--${BOUNDARY}`, "", "x", `--${BOUNDARY}--`]],
    ["has a part without a name", [`--${BOUNDARY}`, "Content-Disposition: form-data", "", "x", `--${BOUNDARY}--`]],
    ["has a part without a disposition", [`--${BOUNDARY}`, "Content-Type: text/plain", "", "x", `--${BOUNDARY}--`]],
    ["has something behind a boundary", [`--${BOUNDARY} x`, head, "", "x", `--${BOUNDARY}--`]],
    ["has a long run behind a boundary", [`--${BOUNDARY}${" ".repeat(300)}`]],
    ["has a head that is too long", [`--${BOUNDARY}`, `X: ${"x".repeat(17_000)}`, head, "", "x", `--${BOUNDARY}--`]],
    ["has a preamble that is too long", ["x".repeat(70_000), `--${BOUNDARY}`, head, "", "x", `--${BOUNDARY}--`]],
  ])("is refused when it %s", (_, lines) => {
    expect(() => read(text(lines))).toThrow("We could not parse the multipart form of your request");
  });

  test("is refused when it is cut short anywhere", () => {
    const form = writeForm([{ name: "file", filename: "a.jsonl", content: "{}\r\n" }]);
    const closed = form.length - "\r\n".length;
    for (let length = 0; length < closed; length += 1) {
      expect(() => read(form.slice(0, length))).toThrow("We could not parse");
    }
    expect(read(form.slice(0, closed))).toHaveLength(1);
  });

  test("reads the same wherever its chunks begin", () => {
    const form = writeForm([
      { name: "file", filename: "a.jsonl", content: `-\r\n--\r\n--${BOUNDARY.slice(0, 6)}\r\r\n-` },
      { name: "purpose", content: "batch" },
    ]);
    const whole = read(form);
    for (let first = 0; first < form.length; first += 1) {
      expect(read(form, [first])).toEqual(whole);
      expect(read(form, [first, first + 1])).toEqual(whole);
    }
  });

  test("gives back any bytes that were put in, whatever the chunks", () => {
    // Much of what is made here looks nearly like a boundary.
    const piece = fc.constantFrom(
      "\r",
      "\n",
      "-",
      "--",
      "\r\n--",
      BOUNDARY.slice(0, -1),
      `\r\n--${BOUNDARY}`.slice(0, -1),
      "{}",
      "ÿ",
    );
    const content = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
    const part = fc.record({ name: fc.constantFrom("file", "purpose"), content }) satisfies fc.Arbitrary<Part>;
    fc.assert(
      fc.property(fc.array(part, { maxLength: 4 }), fc.array(fc.nat(400), { maxLength: 20 }), (parts, cuts) => {
        const form = writeForm(parts);
        const inside = cuts.filter((cut) => cut < form.length);
        const latin1 = new TextDecoder("latin1");
        expect(read(form, inside)).toEqual(
          parts.map((made) => ({ name: made.name, filename: null, content: latin1.decode(encode(made.content)) })),
        );
      }),
      { numRuns: 500 },
    );
  });
});
