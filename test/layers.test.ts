/**
 * The shape of src/, as docs/architecture.md draws it: imports point downwards and never in a circle, files stay
 * small, names of the wire stay in protocol/, and only stores/ calls R2 and D1. Reads the syntax trees of the real
 * files; the linter says a part of the same while typing, this says it for good.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { BATCH_STATUSES } from "../src/domain/batch.ts";
import { MISSING_REASONS } from "../src/protocol/result-line.ts";
import { findCircle, layerOf, readSource, type SourceFile, targetOf } from "./source-shape.ts";

const SOURCE = path.resolve(import.meta.dirname, "../src");
const MAX_LINES = 300;

/** What each folder may import besides itself. Those that are no folder are files of that name in src/. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  log: [],
  config: ["domain"],
  "byte-blocks": [],
  "new-id": ["domain"],
  protocol: ["domain"],
  stores: ["domain"],
  upstream: ["domain", "protocol", "config"],
  batch: ["domain", "protocol", "stores", "config", "log", "new-id", "byte-blocks"],
  pacer: ["domain", "config", "log"],
  queue: ["domain", "protocol", "stores", "upstream", "config", "log", "new-id"],
  http: ["domain", "protocol", "stores", "upstream", "config", "log", "new-id", "byte-blocks"],
  sweep: ["domain", "stores", "log"],
  index: ["domain", "batch", "pacer", "queue", "http", "sweep", "config", "log"],
};

/** Packages that do I/O or know the platform: not for the layers that are tested without either. */
const PURE_LAYERS = new Set(["domain", "protocol"]);
const IMPURE_PACKAGE = /^(cloudflare:|node:|hono($|\/))/;

/**
 * Where names of the wire may stand: protocol/ is their place. The tables that stores/ reads have columns of the same
 * names. The echo upstream imitates a server of OpenAI's API, and so speaks as one.
 */
const SPEAKS_WIRE_NAMES = /^(protocol\/|stores\/|upstream\/echo)/;
/** Values that are written like names: a batch's statuses, and the codes of lines that were not executed. */
const VALUES = new Set<string>([...BATCH_STATUSES, ...MISSING_REASONS]);

interface LintSettings {
  readonly overrides: readonly {
    readonly files: readonly string[];
    readonly rules: {
      readonly "eslint/no-restricted-imports"?: readonly [string, { readonly patterns: readonly LintPattern[] }];
    };
  }[];
}

interface LintPattern {
  readonly regex?: string;
  readonly group?: readonly string[];
}

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => readSource(name.replaceAll(path.sep, "/"), readFileSync(path.join(SOURCE, name), "utf8")))
  .toSorted((a, b) => (a.name < b.name ? -1 : 1));

/** The keys of protocol's objects and schemas, and what it reads out of objects that nobody has checked. */
const wireNames = new Set(
  files.filter((file) => file.layer === "protocol").flatMap(({ keys, bracketed }) => [...keys, ...bracketed]),
).difference(VALUES);

describe("source files", () => {
  test("are found, and the names of the wire in them", () => {
    expect(files.length).toBeGreaterThan(5);
    expect([...wireNames]).toEqual(expect.arrayContaining(["input_file_id", "prompt_tokens", "status_code"]));
  });

  test.each(files)("$name imports downwards only", (file) => {
    expect(findWrongImports(file)).toEqual([]);
  });

  test("import each other in no circle, types included", () => {
    expect(findCircle(files)).toBeNull();
  });

  test.each(files)(`$name has at most ${MAX_LINES} lines`, (file) => {
    expect(file.lines).toBeLessThanOrEqual(MAX_LINES);
  });

  test.each(files)("$name uses no wire names, or may", (file) => {
    expect(findWireNames(file)).toEqual([]);
  });

  test.each(files)("$name calls no bucket and no database, or is a store", (file) => {
    expect(findStorageCalls(file)).toEqual([]);
  });
});

describe("the linter", () => {
  const layers = Object.keys(MAY_IMPORT);
  const folders = [...new Set(files.filter(({ name }) => name.includes("/")).map(({ layer }) => layer))];

  test.each(folders)("restricts the imports of %s as the table here does", (folder) => {
    const restricted = readLintPatterns(folder);
    const pathOf = (layer: string) => (folders.includes(layer) ? `../${layer}/a.ts` : `../${layer}.ts`);
    expect(layers.filter((layer) => layer !== folder && !restricted(pathOf(layer)))).toEqual(
      layers.filter((layer) => MAY_IMPORT[folder]?.includes(layer)),
    );
  });
});

describe("the rules find", () => {
  test.each([
    ["an import upwards", "domain/a.ts", 'import { b } from "../protocol/b.ts";', ["../protocol/b.ts"]],
    ["one of a sibling", "http/routes/a.ts", 'import "../../batch/b.ts";', ["../../batch/b.ts"]],
    ["one of types alone", "stores/a.ts", 'import type { B } from "../config.ts";', ["../config.ts"]],
    ["one within an expression", "queue/a.ts", 'const a = await import("../http/b.ts");', ["../http/b.ts"]],
    ["one that is exported again", "stores/a.ts", 'export { b } from "../protocol/b.ts";', ["../protocol/b.ts"]],
    ["the platform in a pure layer", "protocol/a.ts", 'import "cloudflare:workers";', ["cloudflare:workers"]],
    ["no import downwards", "http/routes/a.ts", 'import { b } from "../../stores/b.ts";', []],
    ["no import of the schema by a store", "stores/a.ts", 'import a from "../../schema.sql";', []],
    ["one of the schema by others", "batch/a.ts", 'import a from "../../schema.sql";', ["../../schema.sql"]],
  ])("%s", (_what, name, text, found) => {
    expect(findWrongImports(readSource(name, text))).toEqual(found);
  });

  test.each([
    ["a key", "a = { input_file_id: 1 };", ["input_file_id"]],
    ["a key in quotes", 'a = { "input_file_id": 1 };', ["input_file_id"]],
    ["a name taken out of an object", "const { custom_id: a } = b;", ["custom_id"]],
    ["a member", "a = b.custom_id;", ["custom_id"]],
    ["a member in brackets", 'a = b["custom_id"];', ["custom_id"]],
    ["a string", 'a = read(b, "custom_id");', ["custom_id"]],
    ["a part of a string", "a = \"The 'custom_id' is missing.\";", ["custom_id"]],
    ["a part of a template", "a = `metadata.${b}.input_file_id`;", ["input_file_id"]],
    ["JSON in a template", 'a = `{"status_code":${b}}`;', ["status_code"]],
    ["a type's key", "interface A { readonly custom_id: string }", ["custom_id"]],
    ["no status", 'a = { in_progress: "in_progress" };', []],
    ["no code of a line", 'a = "batch_expired";', []],
    ["no other word", 'a = { sealed_key: "max_in_flight" };', []],
    ["nothing in a comment", "// custom_id\na = 1;", []],
  ])("wire names: %s", (_what, text, found) => {
    expect(findWireNames(readSource("batch/a.ts", text))).toEqual(found);
    expect(findWireNames(readSource("protocol/a.ts", text))).toEqual([]);
  });

  test.each([
    ["of an argument", "await bucket.get(key);", ["bucket.get"]],
    ["of a binding", "await env.BUCKET.put(key, bytes);", ["env.BUCKET.put"]],
    ["of a binding in brackets", 'await env["BUCKET"].put(key, bytes);', ['env["BUCKET"].put']],
    ["of a private field", "class A { #bucket; a() { return this.#bucket.list(); } }", ["this.#bucket.list"]],
    ["of one that may be missing", "await bucket?.head(key);", ["bucket?.head"]],
    ["of a database", "await c.var.db.batch([]);", ["c.var.db.batch"]],
    ["of a method that only D1 has", "await other.prepare(sql);", ["other.prepare"]],
    ["of a method that only R2 has", "await upload.uploadPart(1, bytes);", ["upload.uploadPart"]],
    ["not where it is handed on", "await removeFile(await openDatabase(env.DB), env.BUCKET, id);", []],
    ["not of others", "await map.get(key); storage.sql.exec(sql);", []],
  ])("calls %s", (_what, text, found) => {
    expect(findStorageCalls(readSource("batch/a.ts", text))).toEqual(found);
    expect(findStorageCalls(readSource("stores/a.ts", text))).toEqual([]);
  });

  test.each([
    ["of two files", { "a/x.ts": "./y.ts", "a/y.ts": "./x.ts" }, ["a/x.ts", "a/y.ts", "a/x.ts"]],
    ["of one file", { "a/x.ts": "./x.ts" }, ["a/x.ts", "a/x.ts"]],
    [
      "over folders, behind a file that is not in it",
      { "a/v.ts": "./w.ts", "a/w.ts": "../b/x.ts", "b/x.ts": "./y.ts", "b/y.ts": "../a/w.ts" },
      ["a/w.ts", "b/x.ts", "b/y.ts", "a/w.ts"],
    ],
    ["not where there is none", { "a/x.ts": "./y.ts", "a/y.ts": "../b/z.ts", "b/z.ts": "zod" }, null],
  ])("a circle %s", (_what, imports, circle) => {
    const sources = Object.entries(imports).map(([name, from]) =>
      readSource(name, `import type { A } from "${from}";`),
    );
    expect(findCircle(sources)).toEqual(circle);
  });
});

/** Whether the linter's settings for a folder restrict an import. */
function readLintPatterns(folder: string): (specifier: string) => boolean {
  const settings = JSON.parse(readFileSync(path.join(SOURCE, "../.oxlintrc.json"), "utf8")) as LintSettings;
  const rules = settings.overrides.find(({ files: globs }) => globs.includes(`src/${folder}/**`))?.rules;
  const patterns = rules?.["eslint/no-restricted-imports"]?.[1].patterns ?? [];
  return (specifier) =>
    patterns.some(({ regex, group }) =>
      regex === undefined ? group?.includes("../**") : new RegExp(regex).test(specifier),
    );
}

function findWrongImports(file: SourceFile): readonly string[] {
  const allowed = [file.layer, ...(MAY_IMPORT[file.layer] ?? [])];
  return file.imports.filter((specifier) => {
    const target = targetOf(file, specifier);
    if (target === null) return PURE_LAYERS.has(file.layer) && IMPURE_PACKAGE.test(specifier);
    // Outside src/ only schema.sql, which the stores apply.
    if (target.startsWith("..")) return file.layer !== "stores" || !target.endsWith(".sql");
    return !allowed.includes(layerOf(target));
  });
}

function findWireNames({ name, words }: SourceFile): readonly string[] {
  return SPEAKS_WIRE_NAMES.test(name) ? [] : [...words].filter((word) => wireNames.has(word));
}

function findStorageCalls({ layer, storageCalls }: SourceFile): readonly string[] {
  return layer === "stores" ? [] : storageCalls;
}
