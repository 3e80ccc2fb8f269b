/**
 * Applies schema.sql, once per isolate and database, so that nothing but `wrangler deploy` is needed. It
 * knows no versions: every statement of the schema is idempotent.
 */
import schema from "../../schema.sql";

const opened = new WeakSet<D1Database>();

/**
 * The database, with its tables. Calls that come while the schema is being applied apply it too: one that
 * waited for another request's work would wait for ever when that request is cut off.
 */
export async function openDatabase(db: D1Database): Promise<D1Database> {
  if (opened.has(db)) return db;
  await db.batch(readStatements(schema).map((statement) => db.prepare(statement)));
  opened.add(db);
  return db;
}

function readStatements(sql: string): string[] {
  const withoutComments = sql.replaceAll(/--.*$/gm, "");
  return withoutComments
    .split(";")
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}
