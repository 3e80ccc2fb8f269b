import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rawMembers, toOneLine } from "../../src/protocol/raw-json.ts";

/** JSON source text in every spelling: spacing between tokens, escapes in strings, numbers beyond doubles. */
const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const number = fc.oneof(
  fc.constantFrom("9223372036854775807", "1.0", "1e400", "-0", "-0.0", "1E+2", "0.10000000000000000001"),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
);
const string = fc
  .tuple(fc.string({ unit: "binary" }), fc.boolean())
  .map(([text, escaped]) => (escaped ? escapeAll(text) : JSON.stringify(text)));
/** No backslash in a key: after one, V8 misreads other escaped keys (github.com/nodejs/node/issues/63785). */
const key = fc.oneof(
  fc.constantFrom('"body"', '"b\\u006fdy"', '"__proto__"', '"\\u005f_proto__"', '""', '"\\""', '"constructor"'),
  string.filter((text) => !(JSON.parse(text) as string).includes("\\")),
);
const { value: jsonText } = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    number,
    string,
    fc.constantFrom("true", "false", "null"),
    tie("array"),
    tie("object"),
  ),
  array: fc
    .tuple(space, fc.array(fc.tuple(space, tie("value"), space), { maxLength: 4 }))
    .map(([before, parts]) => `[${before}${parts.map((part) => part.join("")).join(",")}]`),
  object: members(tie("value")),
}));
const objectText = fc.tuple(space, members(jsonText), space).map((parts) => parts.join(""));

function members(value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(space, fc.array(fc.tuple(space, key, space, fc.constant(":"), space, value, space), { maxLength: 5 }))
    .map(([before, parts]) => `{${before}${parts.map((part) => part.join("")).join(",")}}`);
}

function escapeAll(text: string): string {
  return `"${text
    .split("")
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("")}"`;
}

function parseObject(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>;
}

describe("rawMember", () => {
  test.each([
    ['{"body":{"seed":9223372036854775807}}', '{"seed":9223372036854775807}'],
    ['{"body":1.0}', "1.0"],
    ['{"body":1e400,"x":1}', "1e400"],
    ['{ "body" : \t-0 \r\n}', "-0"],
    ['{"body":null}', "null"],
    ['{"body":"a\\"b}"}', '"a\\"b}"'],
    ['{"body":"ends in a backslash \\\\","x":"\\\\"}', '"ends in a backslash \\\\"'],
    ['{"b\\u006fdy":[1, 2]}', "[1, 2]"],
    ['{"body":1,"body":{"second":true}}', '{"second":true}'],
    ['{"body":1,"b\\u006fdy":2}', "2"],
    ['{"x":{"body":1},"body":2}', "2"],
    ['{"x":"\\"body\\":3","body":2}', "2"],
    ['  {"x":[{"a":"]"}], "body":{"a":"}"}}  ', '{"a":"}"}'],
    ['{"body":{"b":[[],{}]}}', '{"b":[[],{}]}'],
  ])("finds body in %s", (text, expected) => {
    expect(rawMember(text, "body")).toBe(expected);
  });

  test.each([["{}"], ['{"x":{"body":1}}'], ["[1]"], ['"body"'], ["null"], ["1"], ['{"Body":1}'], [""]])(
    "finds no body in %s",
    (text) => {
      expect(rawMember(text, "body")).toBeNull();
    },
  );

  test("tells keys of backslashes and quotes apart", () => {
    const text = String.raw`{"\\":1,"\"":2,"\\\"":3,"b\\":4,"b\"":5}`;
    expect(["\\", '"', '\\"', "b\\", 'b"', "b"].map((name) => rawMember(text, name))).toEqual([
      "1",
      "2",
      "3",
      "4",
      "5",
      null,
    ]);
  });

  test("takes __proto__ for a member like any other", () => {
    expect(rawMember('{"__proto__":{"a":1}}', "__proto__")).toBe('{"a":1}');
    expect(rawMember("{}", "__proto__")).toBeNull();
    expect(rawMember("{}", "toString")).toBeNull();
  });

  test("agrees with JSON.parse on every member of every object, however it is written", () => {
    fc.assert(
      fc.property(objectText, (text) => {
        const parsed = parseObject(text);
        for (const name of Object.keys(parsed)) {
          const raw = rawMember(text, name);
          expect(text).toContain(raw);
          expect(JSON.parse(raw ?? "")).toEqual(parsed[name]);
        }
        expect(rawMember(text, "longer than any generated key")).toBeNull();
      }),
      { numRuns: 1000 },
    );
  });

  test("keeps the bytes of the value, whatever stands around it", () => {
    fc.assert(
      fc.property(objectText, jsonText, space, (other, value, around) => {
        expect(rawMember(`{"other":${other},"body":${around}${value}${around}}`, "body")).toBe(value);
      }),
      { numRuns: 1000 },
    );
  });

  test("reads 8 MB of quotes, backslashes and brackets, 100,000 deep, in one pass", () => {
    const strings = JSON.stringify('\\"'.repeat(1_500_000));
    const nested = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    const body = `{"a":${strings},"b":${nested}}`;
    const started = performance.now();
    expect(rawMember(`{"custom_id":"x","body":${body}}`, "body")?.length).toBe(body.length);
    // A quadratic scan would take minutes.
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("toOneLine", () => {
  test("changes nothing in one line", () => {
    const text = '{ "a" : 1.0,\t"b\\n":"\u2028\u2029" } ';
    expect(toOneLine(text)).toBe(text);
  });

  test.each([
    ['{\n  "a": 1,\r\n  "b": [\r1.0]\n}\n', '{  "a": 1,  "b": [1.0]}'],
    ["\r\n[]", "[]"],
  ])("joins the lines of %j", (text, expected) => {
    expect(toOneLine(text)).toBe(expected);
  });

  test("removes line breaks and nothing else", () => {
    fc.assert(
      fc.property(jsonText, (text) => {
        const line = toOneLine(text);
        expect(line).not.toMatch(/[\r\n]/);
        expect(line).toBe(text.replaceAll("\r", "").replaceAll("\n", ""));
        expect(JSON.parse(line)).toEqual(JSON.parse(text));
      }),
    );
  });
});

function rawMember(text: string, name: string): string | null {
  return rawMembers(text, [name]).get(name) ?? null;
}
