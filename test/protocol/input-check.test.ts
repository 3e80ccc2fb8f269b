import { describe, expect, test } from "vitest";
import { ENDPOINTS } from "../../src/protocol/endpoints.ts";
import { InputCheck, type InputRules } from "../../src/protocol/input-check.ts";
import { LineSplitter } from "../../src/domain/jsonl.ts";

const CHAT = "/v1/chat/completions";

function rulesOf(path: string, maxLines = 50_000): InputRules {
  const endpoint = ENDPOINTS[path];
  if (endpoint === undefined) throw new Error(`there is no endpoint ${path}`);
  return { path, endpoint, models: null, maxLines, digest: (text) => `${text.length} ${text.slice(-30)}` };
}

function check(input: string | Uint8Array, rules = rulesOf(CHAT), maxLineBytes = 1_000_000) {
  const verdict = new InputCheck(rules);
  const splitter = new LineSplitter(maxLineBytes, (line) => verdict.addLine(line));
  splitter.push(typeof input === "string" ? Buffer.from(input) : input);
  splitter.end();
  return verdict.verdict();
}

/** Code and line of each problem; empty when the input is accepted. */
function problemsOf(...input: Parameters<typeof check>) {
  const verdict = check(...input);
  return verdict.ok ? [] : verdict.reason.map(({ code, line }) => [code, line]);
}

function chatLine(customId: string, model = "m"): string {
  return JSON.stringify({ custom_id: customId, method: "POST", url: CHAT, body: { model, messages: [] } });
}

function chatLines(count: number): string {
  return Array.from({ length: count }, (_, line) => `${chatLine(`line-${line}`)}\n`).join("");
}

const BAD = "invalid_json_line";
const a = chatLine("a");
const b = chatLine("b");

describe("an accepted input", () => {
  test.each([
    ["one line", a, [0], a.length],
    ["one line and its break", `${a}\n`, [0], a.length + 1],
    ["CRLF", `${a}\r\n${b}\r\n`, [0, a.length + 2], a.length + b.length + 4],
    ["blank lines at the end", `${a}\n\n \r\n\t\n`, [0], a.length + 1],
  ])("of %s says where its lines stand", (_what, input, lineStarts, end) => {
    expect(check(input)).toEqual({ ok: true, value: { lineStarts, end, model: "m" } });
  });

  test.each([
    ["one", ["m", "m", "m"], "m"],
    ["two", ["m", "n", "m"], null],
  ])("of lines that name %s model(s)", (_what, models, model) => {
    const input = models.map((name, line) => chatLine(String(line), name)).join("\n");
    expect(check(input)).toMatchObject({ ok: true, value: { model } });
  });

  test.each([
    ["none", [null, null], null],
    ["none and one", [null, "m"], null],
    ["one and none", ["m", null], null],
  ])("of lines of which the models are %s", (_what, models, model) => {
    const path = "/v1/moderations";
    const lines = models.map((name, line) =>
      JSON.stringify({ custom_id: String(line), method: "POST", url: path, body: { input: "x", model: name } }),
    );
    expect(check(lines.join("\n"), rulesOf(path))).toMatchObject({ ok: true, value: { model } });
  });

  test("of exactly as many lines as are allowed", () => {
    expect(problemsOf(chatLines(50_000))).toEqual([]);
  });
});

describe("a refused input", () => {
  test.each([
    ["nothing", ""],
    ["blank lines", "\n \n\r\n"],
  ])("of %s is empty", (_what, input) => {
    expect(check(input)).toEqual({
      ok: false,
      reason: [
        {
          code: "empty_file",
          message: "The input file is empty. Please ensure that the batch contains at least one request.",
          param: null,
          line: null,
        },
      ],
    });
  });

  test("lists every bad line with its number", () => {
    const input = [a, "{", b, a, `{"custom_id":"c"}`, chatLine("d").replace("POST", "GET")].join("\n");
    expect(problemsOf(input)).toEqual([
      [BAD, 2],
      ["duplicate_custom_id", 4],
      ["missing_required_parameter", 5],
      ["invalid_method", 6],
    ]);
  });

  test("says which custom_id is there twice", () => {
    expect(check(`${a}\n${a}`)).toEqual({
      ok: false,
      reason: [
        {
          code: "duplicate_custom_id",
          message:
            "The custom_id 'a' for this request is a duplicate of another request. The custom_id parameter must be unique for each request in a batch.",
          param: "custom_id",
          line: 2,
        },
      ],
    });
  });

  test.each([
    ["a blank line between others", `${a}\n\n${b}`, [[BAD, 2]]],
    [
      "blank lines first",
      `\n\n${a}`,
      [
        [BAD, 1],
        [BAD, 2],
      ],
    ],
    ["a byte-order mark", `\uFEFF${a}\n${b}`, [[BAD, 1]]],
    ["a line too long", `${a}\n${chatLine("x".repeat(400))}\n${b}`, [["line_too_long", 2]]],
  ])("has %s", (_what, input, problems) => {
    expect(problemsOf(input, rulesOf(CHAT), 300)).toEqual(problems);
  });

  test.each([
    ["UTF-16, little-endian", Buffer.from(`\uFEFF${a}\n`, "utf16le")],
    ["UTF-16, big-endian", Buffer.from(`\uFEFF${a}\n`, "utf16le").swap16()],
    ["gzip", Buffer.from("1f8b0800000000000003ab56ca2fcd2a4e5ab25200d2f9710a0000ff", "hex")],
    ["bytes that are no UTF-8", Buffer.concat([Buffer.from('{"custom_id":"'), Buffer.from([0xff]), Buffer.from('"}')])],
    ["NUL bytes", Buffer.alloc(100)],
    ["deep nesting", Buffer.from("[".repeat(100_000))],
  ])("is %s", (_what, bytes) => {
    expect(problemsOf(bytes)[0]).toEqual([BAD, 1]);
  });

  test.each([
    [10, 11],
    [50_000, 50_001],
  ])("may have %i lines, but has %i", (maxLines, count) => {
    expect(check(chatLines(count), rulesOf(CHAT, maxLines))).toEqual({
      ok: false,
      reason: [
        {
          code: "too_many_tasks",
          message: `The input file contains ${count} requests. A batch may contain at most ${maxLines} requests.`,
          param: null,
          line: null,
        },
      ],
    });
  });

  test.each([
    [[25_000, 25_000], []],
    [[25_000, 25_001], [["too_many_embedding_inputs", null]]],
    [[50_001], [["too_many_embedding_inputs", null]]],
  ])("embeds %j inputs", (counts, problems) => {
    const path = "/v1/embeddings";
    const lines = counts.map((count, line) =>
      JSON.stringify({
        custom_id: String(line),
        method: "POST",
        url: path,
        body: { model: "m", input: Array.from({ length: count }, () => "x") },
      }),
    );
    expect(problemsOf(lines.join("\n"), rulesOf(path))).toEqual(problems);
  });

  test.each([
    ["differ", ["y", "z"], []],
    ["are the same", ["y", "y"], [["duplicate_custom_id", 2]]],
  ])("has long custom_ids that %s", (_what, tails, problems) => {
    const input = tails.map((tail) => chatLine("x".repeat(500) + tail)).join("\n");
    expect(problemsOf(input)).toEqual(problems);
  });

  test("takes no short custom_id for the digest of a long one", () => {
    const digest = "s".repeat(44);
    const ids = ["x".repeat(60), digest, `#${digest.slice(1)}`];
    expect(problemsOf(ids.map((id) => chatLine(id)).join("\n"), { ...rulesOf(CHAT), digest: () => digest })).toEqual(
      [],
    );
  });
});

describe("the list of problems", () => {
  const bad = (count: number) => "{\n".repeat(count);

  test("holds a thousand", () => {
    expect(problemsOf(bad(1000))).toEqual(Array.from({ length: 1000 }, (_, line) => [BAD, line + 1]));
  });

  test.each([
    ["a thousand and one", bad(1001), 50_000, 2],
    ["fifty thousand", bad(50_000), 50_000, 49_001],
    ["a thousand and too many lines", bad(1000) + chatLines(1), 1000, 2],
  ])("of %s ends with how many more there are", (_what, input, maxLines, more) => {
    const verdict = check(input, rulesOf(CHAT, maxLines));
    const problems = verdict.ok ? [] : verdict.reason;
    expect(problems).toHaveLength(1000);
    expect(problems.at(-1)).toEqual({
      code: "too_many_errors",
      message: `There are ${more} more errors in this file.`,
      param: null,
      line: null,
    });
  });
});
