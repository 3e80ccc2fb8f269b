/**
 * The shape of src/: imports point downwards, files stay small, and wire names stay at the doors. Reads the
 * syntax trees of the real files; the linter says the same while typing, this says it for good.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseSync, Visitor } from "oxc-parser";
import { describe, expect, test } from "vitest";
import { BATCH_STATUSES } from "../src/domain/batch.ts";

const SOURCE = path.resolve(import.meta.dirname, "../src");
const MAX_LINES = 400;

/** What each folder may import besides itself. `config`, `log` and `index` are files of that name in src/. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  protocol: ["domain"],
  log: [],
  config: ["domain"],
  stores: ["domain", "protocol", "log", "config"],
  upstream: ["domain", "protocol", "log", "config", "stores"],
  batch: ["domain", "protocol", "log", "config", "stores", "upstream"],
  queue: ["domain", "protocol", "log", "config", "stores", "upstream"],
  http: ["domain", "protocol", "log", "config", "stores", "upstream"],
  sweep: ["domain", "log", "config", "stores"],
  index: ["domain", "protocol", "log", "config", "stores", "upstream", "batch", "queue", "http", "sweep"],
};

/** Packages that do I/O or know the platform: not for the layers that are tested without either. */
const PURE_LAYERS = new Set(["domain", "protocol"]);
const IMPURE_PACKAGE = /^(cloudflare:|node:|hono($|\/))/;

/** Layers that speak neither the wire nor SQL. A status is a value that happens to contain an underscore. */
const LAYERS_WITHOUT_WIRE_NAMES = new Set(["domain", "batch", "queue", "http", "sweep", "log", "index"]);
const SNAKE_CASE = /^[a-z][a-z0-9]*(_[a-z0-9]+)+$/;
const STATUSES = new Set<string>(BATCH_STATUSES);

interface SourceFile {
  /** Relative to src/. */
  readonly name: string;
  readonly layer: string;
  readonly lines: number;
  /** As written. */
  readonly imports: readonly string[];
  /** Keys of object literals. */
  readonly keys: readonly string[];
}

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .toSorted()
  .map(readSource);

const wireNames = new Set(
  files
    .filter((file) => file.layer === "protocol")
    .flatMap((file) => file.keys)
    .filter((key) => SNAKE_CASE.test(key) && !STATUSES.has(key)),
);

describe("source files", () => {
  test("are found, and the names of the wire in them", () => {
    expect(files.length).toBeGreaterThan(5);
    expect(wireNames).toContain("input_file_id");
  });

  test.each(files)("$name imports downwards only", (file) => {
    const allowed = [file.layer, ...(MAY_IMPORT[file.layer] ?? [])];
    const wrong = file.imports.filter((specifier) => {
      if (!specifier.startsWith(".")) return PURE_LAYERS.has(file.layer) && IMPURE_PACKAGE.test(specifier);
      const target = path.relative(SOURCE, path.resolve(SOURCE, path.dirname(file.name), specifier));
      // Outside src/ only schema.sql, which the stores apply.
      if (target.startsWith("..")) return file.layer !== "stores" || !target.endsWith(".sql");
      return !allowed.includes(layerOf(target));
    });
    expect(wrong).toEqual([]);
  });

  test.each(files)(`$name has at most ${MAX_LINES} lines`, (file) => {
    expect(file.lines).toBeLessThanOrEqual(MAX_LINES);
  });

  test.each(files.filter((file) => LAYERS_WITHOUT_WIRE_NAMES.has(file.layer)))("$name uses no wire names", (file) => {
    expect(file.keys.filter((key) => wireNames.has(key))).toEqual([]);
  });
});

function readSource(name: string): SourceFile {
  const text = readFileSync(path.join(SOURCE, name), "utf8");
  const parsed = parseSync(name, text);
  if (parsed.errors.length > 0) throw new Error(`${name}: ${parsed.errors[0]?.message}`);
  const imports: string[] = [];
  const keys: string[] = [];
  new Visitor({
    ImportDeclaration: (node) => imports.push(node.source.value),
    ExportAllDeclaration: (node) => imports.push(node.source.value),
    ExportNamedDeclaration: (node) => node.source !== null && imports.push(node.source.value),
    ImportExpression: (node) => imports.push(node.source.type === "Literal" ? String(node.source.value) : "./?"),
    TSImportType: (node) => imports.push(node.source.value),
    Property: (node) => node.key.type === "Identifier" && !node.computed && keys.push(node.key.name),
  }).visit(parsed.program);
  return { name, layer: layerOf(name), lines: text.split("\n").length - 1, imports, keys };
}

/** `batch` for `batch/ledger.ts`, `config` for `config.ts`. */
function layerOf(name: string): string {
  const [first = ""] = name.split(path.sep);
  return path.basename(first, ".ts");
}
