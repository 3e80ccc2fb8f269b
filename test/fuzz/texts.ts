/** Texts that break things, for whatever takes a text. */
import fc from "fast-check";

const NASTY_TEXTS = [
  "",
  " ",
  "\0",
  "\r\n",
  "\n\n",
  "\uFEFF",
  "\u2028",
  "\u202E",
  "💥",
  "e\u0301",
  "%",
  "%00",
  "%2F",
  "%2e%2e%2f",
  "%ff",
  "%E0%A4%A",
  "..",
  "../../etc/passwd",
  "C:\\con",
  "'; DROP TABLE files; --",
  "' OR 1=1 --",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "null",
  "undefined",
  "NaN",
  "-0",
  "-1",
  "0x10",
  "1e400",
  "9223372036854775808",
  "99999999999999999999999999",
  "true",
  "[]",
  "{}",
  '"',
  "\\",
  "file-",
  "batch_",
  "batch_00000000000000000000000000000000",
  "file-00000000000000000000000000000000",
];

export const nastyText = fc.constantFrom(...NASTY_TEXTS);

export const loneSurrogates = fc.constantFrom("\uD800", "\uDFFF", "a\uD83Db", "\uDE00\uD83D");

const longText = fc
  .record({ piece: fc.constantFrom("a", "é", "💥", " ", "%41", "[", ";"), times: fc.integer({ min: 60, max: 20_000 }) })
  .map(({ piece, times }) => piece.repeat(times));

/** Whole characters only. */
export const anyText = fc.oneof(
  { weight: 5, arbitrary: nastyText },
  { weight: 3, arbitrary: fc.string({ unit: "binary", maxLength: 30 }) },
  { weight: 1, arbitrary: longText },
);

/** Any JSON value, often one that looks like something else. */
export const anyJson = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue() },
  { weight: 2, arbitrary: anyText },
  { weight: 1, arbitrary: loneSurrogates },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(null, true, 0, -1, 1.5, 2 ** 60, [], {}, [[]], [null]) },
);

/** JSON text of a depth at which recursion overflows. */
export const DEEP_JSON = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;

/** JSON numbers that a double cannot hold. */
export const oddNumber = fc.constantFrom("1e999", "-1e999", "123456789012345678901234567890", "0.1e-999", "-0", "1E+2");

export interface Mutation {
  /** Where, as a share of the length. */
  readonly at: number;
  readonly deleted: number;
  readonly inserted: Uint8Array;
}

const splice = fc.oneof(
  fc
    .constantFrom("\r\n", "\n", "\r", "--", "\0", '"', ";", "=", ":", "{", "}", "\\", "é", "\r\n\r\n", "\uFEFF")
    .map((text) => new TextEncoder().encode(text)),
  fc.uint8Array({ maxLength: 4 }),
);

export const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  deleted: fc.oneof({ weight: 3, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(200) }),
  inserted: splice,
});

export function mutate(bytes: Uint8Array, mutations: readonly Mutation[]): Uint8Array<ArrayBuffer> {
  let mutated = new Uint8Array(bytes);
  for (const { at, deleted, inserted } of mutations) {
    const from = Math.floor(at * mutated.length);
    const rest = mutated.subarray(from + deleted);
    const next = new Uint8Array(from + inserted.length + rest.length);
    next.set(mutated.subarray(0, from));
    next.set(inserted, from);
    next.set(rest, from + inserted.length);
    mutated = next;
  }
  return mutated;
}
