/** Fills D1's local database with copies of a batch, while no stack is running on it. */
import { globSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Null: the tenant of the batch that is copied. */
const TENANTS = [null, "org-other"] as const;
const SECOND_MS = 1000;

/**
 * Copies a final batch `count` times, a second apart and older than itself, and once more for another tenant.
 * @param storage of a stack that has been stopped.
 * @returns the ids of the copies with the batch's own tenant, oldest first.
 */
export function copyBatch(storage: string, batchId: string, count: number): readonly string[] {
  const database = new DatabaseSync(findDatabase(storage));
  try {
    const columns = database
      .prepare("SELECT name FROM pragma_table_info('batches') WHERE name NOT IN ('id', 'tenant', 'created_at')")
      .all()
      .map(({ name }) => String(name))
      .join(", ");
    const insert = database.prepare(
      `INSERT INTO batches (id, tenant, created_at, ${columns})
       SELECT ?1, IFNULL(?2, tenant), created_at - ?3, ${columns} FROM batches WHERE id = ?4`,
    );
    const ids: string[] = [];
    database.exec("BEGIN");
    for (let index = 0; index < count; index += 1) {
      for (const tenant of TENANTS) {
        const id = `batch_${tenant === null ? "a" : "b"}${index.toString(16).padStart(23, "0")}`;
        insert.run(id, tenant, (count - index) * SECOND_MS, batchId);
        if (tenant === null) ids.push(id);
      }
    }
    database.exec("COMMIT");
    return ids;
  } finally {
    database.close();
  }
}

/** @throws Error when there is no database with batches in it. */
function findDatabase(storage: string): string {
  const files = globSync(path.join(storage, "**/*.sqlite"));
  for (const file of files) {
    const database = new DatabaseSync(file, { readOnly: true });
    const found = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'batches'").get();
    database.close();
    if (found !== undefined) return file;
  }
  throw new Error(`there is no D1 database below ${storage}`);
}
