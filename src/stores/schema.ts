/**
 * Brings a database to the tables that this code knows, once per isolate and database, so that nothing but
 * `wrangler deploy` is needed: an empty one gets schema.sql, an older one the steps that it lacks (schema-steps.ts), and a
 * newer one is used as it is: docs/decisions/versions.md.
 */
import schema from "../../schema.sql";
import { NEWEST_SCHEMA_VERSION, SCHEMA_STEPS, type SchemaStep } from "./schema-steps.ts";

const READ_VERSION = "SELECT MAX(version) AS version FROM schema_versions";
const OLD_TABLE = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'batches'";
/**
 * A row for each step that was applied; the highest is the version. The first two versions wrote no row: theirs is told by
 * the column that parts them.
 */
const VERSION_STATEMENTS = [
  "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY) STRICT",
  `INSERT OR IGNORE INTO schema_versions (version)
   SELECT CASE WHEN instr((${OLD_TABLE}), 'runnable') > 0 THEN 2 ELSE 1 END
   WHERE NOT EXISTS (SELECT 1 FROM schema_versions) AND EXISTS (${OLD_TABLE})`,
  READ_VERSION,
];

const opened = new WeakSet<D1Database>();

/**
 * The database, with its tables. Calls that come while they are being made make them too: one that waited for another
 * request's work would wait for ever when that request is cut off.
 */
export async function openDatabase(db: D1Database): Promise<D1Database> {
  if (opened.has(db)) return db;
  const version = await readVersion(db);
  if (version === null) await makeTables(db);
  else await applySteps(db, version, SCHEMA_STEPS);
  opened.add(db);
  return db;
}

/** @param version of the database. Steps that others apply meanwhile count as applied. */
export async function applySteps(db: D1Database, version: number, steps: readonly SchemaStep[]): Promise<void> {
  let reached = version;
  for (const step of steps) {
    if (step.version > reached) reached = await applyStep(db, step);
  }
}

/** Null: there are no tables yet. */
async function readVersion(db: D1Database): Promise<number | null> {
  try {
    // One row, where the statements below read the list of all tables.
    return (await db.prepare(READ_VERSION).first<number>("version")) ?? (await beginVersions(db));
  } catch {
    // There is no such table, or D1 is away: then this fails as well.
    return beginVersions(db);
  }
}

async function beginVersions(db: D1Database): Promise<number | null> {
  const results = await db.batch<{ version: number | null }>(VERSION_STATEMENTS.map((sql) => db.prepare(sql)));
  return results.at(-1)?.results[0]?.version ?? null;
}

/**
 * A D1 batch is one transaction (developers.cloudflare.com/d1/worker-api/d1-database/#batch). The row of a step that
 * somebody else has applied is there already: then the whole batch is rolled back, and there is nothing to do.
 * @returns the version that the database has now.
 */
async function applyStep(db: D1Database, { version, statements }: SchemaStep): Promise<number> {
  try {
    await db.batch([prepareVersion(db, version), ...statements.map((sql) => db.prepare(sql))]);
    return version;
  } catch (error) {
    const reached = (await readVersion(db)) ?? 0;
    if (reached < version) throw error;
    return reached;
  }
}

/** Repeating it, and doing it at the same time as others, changes nothing. */
async function makeTables(db: D1Database): Promise<void> {
  const statements = readStatements(schema).map((sql) => db.prepare(sql));
  try {
    await db.batch([...statements, prepareVersion(db, NEWEST_SCHEMA_VERSION)]);
  } catch (error) {
    const reached = await readVersion(db);
    if (reached === null) throw error;
    await applySteps(db, reached, SCHEMA_STEPS);
  }
}

function prepareVersion(db: D1Database, version: number): D1PreparedStatement {
  return db.prepare("INSERT INTO schema_versions (version) VALUES (?1)").bind(version);
}

function readStatements(sql: string): string[] {
  const withoutComments = sql.replaceAll(/--.*$/gm, "");
  return withoutComments
    .split(";")
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}
