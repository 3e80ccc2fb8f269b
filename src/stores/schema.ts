/**
 * Applies schema.sql, once per isolate and database, so that nothing but `wrangler deploy` is needed. It
 * knows no versions: every statement of the schema is idempotent.
 */
import { waitUntil } from "cloudflare:workers";
import schema from "../../schema.sql";

const opened = new WeakMap<D1Database, Promise<void>>();

/**
 * The database, with its tables. Calls that come while the schema is being applied wait for the same
 * work; after a failure the next call tries again.
 */
export async function openDatabase(db: D1Database): Promise<D1Database> {
  let applied = opened.get(db);
  if (applied === undefined) {
    applied = applySchema(db);
    opened.set(db, applied);
    // The others wait for this request's work: it must go on when this request's client hangs up.
    waitUntil(applied.catch(() => opened.delete(db)));
  }
  await applied;
  return db;
}

async function applySchema(db: D1Database): Promise<void> {
  await db.batch(readStatements(schema).map((statement) => db.prepare(statement)));
}

function readStatements(sql: string): string[] {
  const withoutComments = sql.replaceAll(/--.*$/gm, "");
  return withoutComments
    .split(";")
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}
