import { env } from "cloudflare:workers";
import { beforeEach, expect, test } from "vitest";
import schema from "../../schema.sql";
import { findBatch } from "../../src/stores/batches.ts";
import { NEWEST_SCHEMA_VERSION, SCHEMA_STEPS } from "../../src/stores/schema-steps.ts";
import { applySteps, openDatabase } from "../../src/stores/schema.ts";

/** As version 1 had it; the tables of later versions are not in it. */
const OLDEST = schema.replace(/^ {2}runnable INTEGER,$/m, "");

/** One that no isolate has opened yet: openDatabase knows databases by their object. */
function anotherIsolate(): D1Database {
  const db: D1Database = env.DB;
  return new Proxy(db, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? (member as () => unknown).bind(target) : member;
    },
  });
}

async function run(sql: string): Promise<void> {
  const statements = sql.replaceAll(/--.*$/gm, "").split(";");
  for (const statement of statements.filter((one) => one.trim() !== "")) await env.DB.prepare(statement).run();
}

async function query(sql: string): Promise<readonly Record<string, unknown>[]> {
  return (await env.DB.prepare(sql).all()).results;
}

/** Columns by name, for a step adds them at the end, and indexes. */
async function describeTables(): Promise<unknown> {
  const columns: unknown[] = [];
  for (const table of ["files", "batches", "sweep_cursors", "schema_versions"]) {
    const found = await query(
      `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info('${table}') ORDER BY name`,
    );
    columns.push([table, found]);
  }
  const indexes = await query(
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
  );
  return { columns, indexes };
}

const versions = () => query("SELECT version FROM schema_versions ORDER BY version");

beforeEach(async () => {
  for (const table of ["schema_versions", "files", "batches", "sweep_cursors", "added"]) {
    await run(`DROP TABLE IF EXISTS ${table}`);
  }
});

test("an empty database gets the newest tables and runs no step", async () => {
  await openDatabase(anotherIsolate());
  expect(await versions()).toEqual([{ version: NEWEST_SCHEMA_VERSION }]);
  expect(SCHEMA_STEPS.at(-1)?.version).toBe(NEWEST_SCHEMA_VERSION);
});

test("the steps make of the oldest tables what schema.sql makes of none", async () => {
  await openDatabase(anotherIsolate());
  const newest = await describeTables();
  for (const table of ["schema_versions", "files", "batches", "sweep_cursors"]) await run(`DROP TABLE ${table}`);
  await run(OLDEST);
  const db = await openDatabase(anotherIsolate());
  expect(await describeTables()).toEqual(newest);
  expect(await versions()).toEqual([{ version: 1 }, { version: 2 }]);
  expect(await findBatch(db, "org-a", "batch_0")).toBeNull();
});

test("tables of before versions were counted that lack nothing are left as they are", async () => {
  await run(schema);
  await openDatabase(anotherIsolate());
  expect(await versions()).toEqual([{ version: 2 }]);
});

test("isolates that open an empty or an old database at once all succeed", async () => {
  await Promise.all(Array.from({ length: 8 }, () => openDatabase(anotherIsolate())));
  expect(await versions()).toEqual([{ version: NEWEST_SCHEMA_VERSION }]);
  for (const table of ["schema_versions", "batches"]) await run(`DROP TABLE ${table}`);
  await run(OLDEST);
  await Promise.all(Array.from({ length: 8 }, () => openDatabase(anotherIsolate())));
  expect(await versions()).toEqual([{ version: 1 }, { version: 2 }]);
});

test("a step that fails leaves nothing of itself, and is tried again", async () => {
  await openDatabase(anotherIsolate());
  const broken = {
    version: 3,
    statements: ["CREATE TABLE added (id INTEGER)", "ALTER TABLE absent ADD COLUMN x TEXT"],
  };
  await expect(applySteps(env.DB, 2, [broken])).rejects.toThrow("no such table");
  expect(await query("SELECT name FROM sqlite_master WHERE name = 'added'")).toEqual([]);
  await applySteps(env.DB, 2, [{ version: 3, statements: ["CREATE TABLE added (id INTEGER)"] }]);
  expect(await versions()).toEqual([{ version: 2 }, { version: 3 }]);
});

test("a database that is newer than the code is used as it is", async () => {
  await openDatabase(anotherIsolate());
  await run("INSERT INTO schema_versions (version) VALUES (99)");
  await run("ALTER TABLE batches ADD COLUMN later TEXT");
  const db = await openDatabase(anotherIsolate());
  expect(await findBatch(db, "org-a", "batch_0")).toBeNull();
});
