import { beforeAll, describe, expect, test } from "vitest";
import { writeDisposition } from "../../src/http/content.ts";
import { readRange } from "../../src/http/range.ts";
import { ADMIN, encode, envelope, send, upload, uploadText, writeForm } from "../support/service.ts";

const TEXT = '{"a":1}\n{"b":2}\n';
const BYTES = TEXT.length;

let path = "";
let etag = "";
let lastModified = "";

beforeAll(async () => {
  const id = await uploadText(TEXT);
  path = `/v1/files/${id}/content`;
  etag = `"${id}"`;
  lastModified = (await send(path)).headers.get("last-modified") ?? "";
});

function get(headers: Readonly<Record<string, string>>, method = "GET") {
  return send(path, { method, headers: { ...ADMIN, ...headers } });
}

describe("the content of a file", () => {
  test("comes whole, as a download", async () => {
    const { status, headers, text } = await send(path);
    expect([status, text]).toEqual([200, TEXT]);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": String(BYTES),
      "content-disposition": 'attachment; filename="input.jsonl"',
      "accept-ranges": "bytes",
      "x-content-type-options": "nosniff",
      etag,
    });
  });

  test.each([
    ["bytes=0-0", TEXT.slice(0, 1), `bytes 0-0/${BYTES}`],
    ["bytes=8-", TEXT.slice(8), `bytes 8-15/${BYTES}`],
    ["bytes=8-9999", TEXT.slice(8), `bytes 8-15/${BYTES}`],
    ["bytes=-3", TEXT.slice(-3), `bytes 13-15/${BYTES}`],
    ["bytes=-9999", TEXT, `bytes 0-15/${BYTES}`],
    ["bytes=2-5", TEXT.slice(2, 6), `bytes 2-5/${BYTES}`],
  ])("comes in part for %s", async (range, expected, contentRange) => {
    const { status, headers, text } = await get({ range });
    expect([status, text]).toEqual([206, expected]);
    expect(headers.get("content-range")).toBe(contentRange);
    expect(headers.get("content-length")).toBe(String(expected.length));
    expect(headers.get("etag")).toBe(etag);
  });

  test.each(["bytes=16-", "bytes=99-100", "bytes=-0"])("has nothing for %s", async (range) => {
    const { status, headers, json } = await get({ range });
    expect([status, json]).toEqual([416, envelope({ message: "The file has 16 bytes, and none in that range." })]);
    expect(headers.get("content-range")).toBe(`bytes */${BYTES}`);
  });

  test.each(["bytes=5-2", "bytes=a-b", "bytes=-", "bytes=0-1,4-5", "lines=0-1", "0-1"])(
    "comes whole for what is no single range: %s",
    async (range) => {
      expect(await get({ range })).toMatchObject({ status: 200, text: TEXT });
    },
  );

  test("is not sent again to those who have it", async () => {
    for (const known of [etag, `W/${etag}`, "*", `"other", ${etag}`]) {
      const { status, headers, text } = await get({ "if-none-match": known, range: "bytes=0-1" });
      expect([status, text, headers.get("etag")]).toEqual([304, "", etag]);
    }
    expect(await get({ "if-none-match": '"other"' })).toMatchObject({ status: 200, text: TEXT });
  });

  const PAST = "Sun, 06 Nov 1994 08:49:37 GMT";
  const FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT";

  test("says when it was made", async () => {
    const made = (await send(path.replace("/content", ""))).json?.["created_at"];
    expect(Date.parse(lastModified) / 1000).toBe(made);
  });

  /** ETAG, OTHER, MADE: the file's own tag, another one, the time that it was made. */
  test.each([
    ["if-match", { "if-match": "ETAG" }, 200],
    ["one of several", { "if-match": '"x", ETAG' }, 200],
    ["any", { "if-match": "*" }, 200],
    ["another", { "if-match": '"x"' }, 412],
    ["a weak tag, which if-match does not take", { "if-match": "W/ETAG" }, 412],
    ["unchanged since it was made", { "if-unmodified-since": "MADE" }, 200],
    ["unchanged in future", { "if-unmodified-since": FUTURE }, 200],
    ["unchanged since before it was made", { "if-unmodified-since": PAST }, 412],
    ["what is no time", { "if-unmodified-since": "yesterday" }, 200],
    ["a time without its zone", { "if-unmodified-since": "Sun, 06 Nov 1994 08:49:37" }, 200],
    ["a time that the tag overrules", { "if-match": "ETAG", "if-unmodified-since": PAST }, 200],
    ["a tag that fails before another saves", { "if-match": '"x"', "if-none-match": "ETAG" }, 412],
    ["both tags", { "if-match": "ETAG", "if-none-match": "ETAG" }, 304],
    ["changed since it was made", { "if-modified-since": "MADE" }, 304],
    ["changed since before", { "if-modified-since": PAST }, 200],
    ["changed since what is no time", { "if-modified-since": "MADE+1" }, 200],
    ["another tag, which overrules the time", { "if-none-match": '"x"', "if-modified-since": FUTURE }, 200],
    ["a range outside after a failed condition", { "if-match": '"x"', range: "bytes=99-" }, 412],
  ])("on condition of %s (%j) is answered %i", async (_, conditions, expected) => {
    const headers = Object.entries(conditions).map(([name, text]) => [
      name,
      text.replace("ETAG", etag).replace("MADE", lastModified),
    ]);
    const answer = await get(Object.fromEntries(headers) as Record<string, string>);
    expect(answer.status).toBe(expected);
    if (expected !== 412) return;
    const message = "The file is not the one that if-match or if-unmodified-since means.";
    expect(answer.json).toEqual(envelope({ message }));
  });

  test("comes in part only while it is the file that was meant", async () => {
    expect(await get({ "if-range": etag, range: "bytes=0-0" })).toMatchObject({ status: 206, text: "{" });
    expect(await get({ "if-range": lastModified, range: "bytes=0-0" })).toMatchObject({ status: 206, text: "{" });
    for (const other of ['"other"', PAST, FUTURE]) {
      expect(await get({ "if-range": other, range: "bytes=0-0" })).toMatchObject({ status: 200, text: TEXT });
    }
  });

  test("answers HEAD like GET, without the bytes", async () => {
    const { status, headers, text } = await get({}, "HEAD");
    expect([status, text, headers.get("content-length"), headers.get("etag")]).toEqual([200, "", String(BYTES), etag]);
    expect((await get({ range: "bytes=0-3" }, "HEAD")).status).toBe(206);
  });

  test("of other purposes cannot be downloaded", async () => {
    const file = { name: "file", filename: "note.txt", content: "note" };
    const { json } = await upload(writeForm([{ name: "purpose", content: "user_data" }, file]));
    const { status, json: refusal } = await send(`/v1/files/${String(json?.["id"])}/content`);
    expect([status, refusal]).toEqual([
      400,
      envelope({ message: "Not allowed to download files of purpose: user_data" }),
    ]);
  });

  test("has the name that it was uploaded under", async () => {
    const { json } = await upload(
      writeForm([
        { name: "purpose", content: "batch" },
        { name: "file", filename: "../naïve 猫.jsonl", content: encode(TEXT) },
      ]),
    );
    expect(json?.["filename"]).toBe("../naïve 猫.jsonl");
    const { headers } = await send(`/v1/files/${String(json?.["id"])}/content`);
    expect(headers.get("content-disposition")).toBe(
      "attachment; filename=\"na_ve _.jsonl\"; filename*=UTF-8''na%C3%AFve%20%E7%8C%AB.jsonl",
    );
  });
});

describe("a content disposition", () => {
  test.each([
    ["a.jsonl", 'filename="a.jsonl"'],
    ["", 'filename="file"'],
    ["..", 'filename="file"'],
    ["/etc/passwd", 'filename="passwd"'],
    ["C:\\temp\\a.jsonl", 'filename="a.jsonl"'],
    ['a"; filename="b', "filename=\"a_; filename=_b\"; filename*=UTF-8''a%22%3B%20filename%3D%22b"],
    ["a\r\nset-cookie: x=y", 'filename="aset-cookie: x=y"'],
    ["50%.jsonl", "filename=\"50_.jsonl\"; filename*=UTF-8''50%25.jsonl"],
    ["it's (1)*!.jsonl", 'filename="it\'s (1)*!.jsonl"'],
    ["ü'(1)*!", "filename=\"_'(1)*!\"; filename*=UTF-8''%C3%BC%27%281%29%2A%21"],
    ["a\u202Egpj.exe", 'filename="agpj.exe"'],
    ["\uD800.jsonl", "filename=\"_.jsonl\"; filename*=UTF-8''%EF%BF%BD.jsonl"],
  ])("of %j is safe", (filename, expected) => {
    expect(writeDisposition(filename)).toBe(`attachment; ${expected}`);
  });
});

describe("a range", () => {
  test.each([
    [undefined, 10, null],
    ["bytes=0-", 0, "unsatisfiable"],
    ["bytes=-1", 0, "unsatisfiable"],
    ["bytes=9-9", 10, { offset: 9, length: 1 }],
    ["bytes=10-10", 10, "unsatisfiable"],
    ["BYTES= 1-2 ", 10, { offset: 1, length: 2 }],
    [`bytes=0-${"9".repeat(15)}`, 10, { offset: 0, length: 10 }],
    [`bytes=0-${"9".repeat(99)}`, 10, null],
  ])("%s of a file of %i bytes is %j", (header, fileBytes, expected) => {
    expect(readRange(header, fileBytes)).toEqual(expected);
  });
});
