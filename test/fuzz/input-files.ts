/** Input files of anything: lines that are good, odd, hostile or huge, put together and encoded in any way. */
import fc from "fast-check";
import { encode, join } from "../support/service.ts";
import { anyJson, DEEP_JSON, type Mutation, mutate, mutation, nastyText, oddNumber } from "./texts.ts";

export interface InputFile {
  /** Behind a line that is good, what follows gets past the upload. */
  readonly isBehindGoodLine: boolean;
  readonly lines: readonly string[];
  readonly lineBreak: string;
  readonly end: string;
  readonly mutations: readonly Mutation[];
  readonly encoding: "utf-8" | "utf-8 with a mark" | "utf-16" | "gzip";
}

const MEGABYTE = 1024 * 1024;
const GOOD_LINE = encode(
  '{"custom_id":"first","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n',
);

/** Two lines that share an id are one of the things to find. */
const customId = fc.oneof(
  { weight: 6, arbitrary: fc.uuid() },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "twice",
      "",
      "\0",
      "\uD800",
      "\uD801",
      "💥".repeat(256),
      "💥".repeat(257),
      "a".repeat(512),
      "a".repeat(513),
    ),
  },
  { weight: 1, arbitrary: anyJson },
);

const goodLine = fc
  .record({ custom_id: customId, body: fc.record({ model: fc.constantFrom("m", "n"), input: anyJson }) })
  .map(({ custom_id, body }) => JSON.stringify({ custom_id, method: "POST", url: "/v1/embeddings", body }));

/** Each around a unique id, so that a file of such lines may be good. */
const oddLine = fc.tuple(fc.uuid(), nastyText, oddNumber).chain(([id, text, number]) => {
  const quoted = JSON.stringify(text);
  const start = `{"custom_id":"${id}","method":"POST","url":"/v1/embeddings"`;
  const body = `"body":{"model":"m","input":${quoted}}`;
  return fc.constantFrom(
    `${start},${body},${body}}`,
    `{"custom_id":${quoted},${start.slice(1)},${body}}`,
    `${start},${body},"__proto__":{"custom_id":1},"constructor":${quoted}}`,
    `${start},"body":{"model":"m","input":${number},"__proto__":${quoted}}}`,
    `${start},"b\\u006fdy":{"model":"m","input":${quoted}}}`,
    `${start},"body":{"model":${quoted},"input":"\\ud800"}}`,
    ` \t${start} , ${body} } \t`,
    `${start},${body}}\r`,
    `${start},"body":{"model":"m","input":"${"\\".repeat(200)}"}}`,
    `${start},"body":${quoted}}`,
    `{"__proto__":${start},${body}}}`,
    `${start},${body},"x":"\u2028\u2029"}`,
    `${start},"body":{"model":"m","input":"x","stream":true}}`,
  );
});

/** Made when wanted: they are many megabytes. */
const hugeLine = fc.uuid().chain((id) => {
  const start = `{"custom_id":"${id}","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":`;
  return fc.constantFrom(
    () => `${start}${DEEP_JSON}}}`,
    () => `${start}${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}}`,
    () => DEEP_JSON,
    () => "[".repeat(100_000),
    () => `{"custom_id":"${"c".repeat(MEGABYTE)}"}`,
    () =>
      `{"custom_id":"${id}","method":"POST","url":"/v1/embeddings","body":{"input":"x","model":"${"m".repeat(3 * MEGABYTE)}"}}`,
    () => `${start}"${"x".repeat(10 * MEGABYTE)}"}}`,
  );
});

const line = fc.oneof(
  { weight: 120, arbitrary: goodLine },
  { weight: 60, arbitrary: oddLine },
  { weight: 8, arbitrary: fc.constantFrom("", " ", "{}", "[]", "null", "\uFEFF", "\0") },
  { weight: 2, arbitrary: anyJson.map((value) => JSON.stringify(value)) },
);

const FILE_FORM = {
  isBehindGoodLine: fc.boolean(),
  lineBreak: fc.constantFrom("\n", "\n", "\n", "\r\n", "\r", "\n\n"),
  end: fc.constantFrom("", "\n", "\n\n", "\r\n \r\n"),
  mutations: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Mutation[]>([]) },
    { weight: 1, arbitrary: fc.array(mutation, { maxLength: 2 }) },
  ),
  encoding: fc.oneof(
    { weight: 20, arbitrary: fc.constant("utf-8" as const) },
    { weight: 1, arbitrary: fc.constantFrom("utf-8 with a mark" as const, "utf-16" as const, "gzip" as const) },
  ),
};

export const inputFile: fc.Arbitrary<InputFile> = fc.record({
  ...FILE_FORM,
  lines: fc.array(line, { minLength: 1, maxLength: 8 }),
});

/** With one line of megabytes among the others. */
export const hugeInputFile: fc.Arbitrary<InputFile> = fc.record({
  ...FILE_FORM,
  lines: fc
    .tuple(fc.array(line, { maxLength: 2 }), hugeLine, fc.array(line, { maxLength: 2 }))
    .map(([before, makeHuge, after]) => [...before, makeHuge(), ...after]),
});

export async function writeFile({ isBehindGoodLine, lines, lineBreak, end, mutations, encoding }: InputFile) {
  const text = lines.join(lineBreak) + end;
  const rest = mutate(await encodeAs(text, encoding), mutations);
  return isBehindGoodLine ? join([GOOD_LINE, rest]) : rest;
}

async function encodeAs(text: string, encoding: InputFile["encoding"]): Promise<Uint8Array> {
  if (encoding === "utf-8") return encode(text);
  if (encoding === "utf-8 with a mark") return encode(`\uFEFF${text}`);
  if (encoding === "utf-16") {
    return new Uint8Array(Uint16Array.from(`\uFEFF${text}`, (unit) => unit.charCodeAt(0)).buffer);
  }
  const zipped = new Blob([encode(text)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(zipped).arrayBuffer());
}
