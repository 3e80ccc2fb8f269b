/**
 * Reads what the rules of `layers.test.ts` need out of the syntax tree of a source file: what it imports, the words
 * in it that may be names of the wire, and its calls of a bucket or a database. It judges nothing.
 */
import path from "node:path";
import { type Expression, parseSync, type Super, Visitor } from "oxc-parser";

export interface SourceFile {
  /** Relative to src/. */
  readonly name: string;
  readonly layer: string;
  readonly lines: number;
  /** As written; those of types included. */
  readonly imports: readonly string[];
  /** snake_case words among the keys of object literals, patterns, schemas and JSON written as a template. */
  readonly keys: ReadonlySet<string>;
  /** The same of members that are read with brackets. */
  readonly bracketed: ReadonlySet<string>;
  /** snake_case words among all keys, the names of members however they are read, and in strings. */
  readonly words: ReadonlySet<string>;
  /** Calls such as `env.BUCKET.get`, by their source text. */
  readonly storageCalls: readonly string[];
}

const SNAKE_CASE = /[a-z][a-z0-9]*(?:_[a-z0-9]+)+/g;
const KEY_IN_JSON = /"(\w+)":/g;
/** What a binding of R2 or D1 is called, here and everywhere. */
const STORAGE_NAME = /^(bucket|db|database)$/i;
/** Methods that only R2 or D1 have, whatever the object is called. */
const STORAGE_METHODS = new Set(["prepare", "createMultipartUpload", "resumeMultipartUpload", "uploadPart"]);

export function readSource(name: string, text: string): SourceFile {
  const parsed = parseSync(name, text);
  if (parsed.errors.length > 0) throw new Error(`${name}: ${parsed.errors[0]?.message}`);
  const imports: string[] = [];
  const keys = new Set<string>();
  const bracketed = new Set<string>();
  const words = new Set<string>();
  const storageCalls: string[] = [];
  const importPaths = new Set<number>();
  const addImport = ({ start, value }: { start: number; value: unknown }) => {
    importPaths.add(start);
    imports.push(String(value));
  };
  const addWords = (found: string) => {
    for (const word of wordsIn(found)) words.add(word);
  };
  new Visitor({
    ImportDeclaration: (node) => addImport(node.source),
    ExportAllDeclaration: (node) => addImport(node.source),
    ExportNamedDeclaration: (node) => {
      if (node.source !== null) addImport(node.source);
    },
    ImportExpression: ({ source }) => {
      if (source.type === "Literal") addImport(source);
      else imports.push("./?");
    },
    TSImportType: (node) => addImport(node.source),
    Property: ({ key, computed }) => {
      const found = nameOf(key, computed);
      for (const word of wordsIn(found)) keys.add(word);
      addWords(found);
    },
    TSPropertySignature: ({ key, computed }) => addWords(nameOf(key, computed)),
    PropertyDefinition: ({ key, computed }) => addWords(nameOf(key, computed)),
    MemberExpression: ({ property, computed }) => {
      const found = nameOf(property, computed);
      if (computed) for (const word of wordsIn(found)) bracketed.add(word);
      addWords(found);
    },
    Literal: (node) => {
      if (typeof node.value === "string" && !importPaths.has(node.start)) addWords(node.value);
    },
    TemplateElement: ({ value: { raw } }) => {
      for (const [, key = ""] of raw.matchAll(KEY_IN_JSON)) for (const word of wordsIn(key)) keys.add(word);
      addWords(raw);
    },
    CallExpression: ({ callee }) => {
      if (isStorageCall(callee)) storageCalls.push(text.slice(callee.start, callee.end));
    },
  }).visit(parsed.program);
  return {
    name,
    layer: layerOf(name),
    lines: text.split("\n").length - 1,
    imports,
    keys,
    bracketed,
    words,
    storageCalls,
  };
}

/** `batch` for `batch/ledger.ts`, `config` for `config.ts`. */
export function layerOf(name: string): string {
  const [first = ""] = name.split("/");
  return path.posix.basename(first, ".ts");
}

/** What an import stands for: the name of a file relative to src/, `../` in front of it when it is outside. Null: a package. */
export function targetOf(file: Pick<SourceFile, "name">, specifier: string): string | null {
  return specifier.startsWith(".") ? path.posix.join(path.posix.dirname(file.name), specifier) : null;
}

/** Files that import each other in a circle, from one of them back to itself. Null: there is none. */
export function findCircle(files: readonly Pick<SourceFile, "name" | "imports">[]): readonly string[] | null {
  const importsOf = new Map(
    files.map((file) => [file.name, file.imports.map((specifier) => targetOf(file, specifier))]),
  );
  const done = new Set<string>();
  const follow = (name: string, way: readonly string[]): readonly string[] | null => {
    if (way.includes(name)) return [...way.slice(way.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const target of importsOf.get(name) ?? []) {
      const circle = target === null ? null : follow(target, [...way, name]);
      if (circle !== null) return circle;
    }
    done.add(name);
    return null;
  };
  for (const { name } of files) {
    const circle = follow(name, []);
    if (circle !== null) return circle;
  }
  return null;
}

function wordsIn(text: string): readonly string[] {
  return text.match(SNAKE_CASE) ?? [];
}

/** Empty for a key that is computed otherwise than by a plain string. */
function nameOf(key: { readonly type: string }, computed: boolean): string {
  if (key.type === "Literal" && "value" in key) return String(key.value);
  return !computed && "name" in key ? String(key.name) : "";
}

function isStorageCall(callee: Expression | Super): boolean {
  if (callee.type === "ChainExpression") return isStorageCall(callee.expression);
  if (callee.type !== "MemberExpression") return false;
  if (STORAGE_METHODS.has(nameOf(callee.property, callee.computed))) return true;
  const { object } = callee;
  if (object.type === "Identifier") return STORAGE_NAME.test(object.name);
  return object.type === "MemberExpression" && STORAGE_NAME.test(nameOf(object.property, object.computed));
}
