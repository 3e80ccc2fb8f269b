/** Puts what an older version of the Worker has stored (README.md) into the real D1, R2 and objects of this runtime. */
import { env } from "cloudflare:workers";
import { evictDurableObject, runInDurableObject } from "cloudflare:test";

export interface OldState {
  /** When it was stored, in ms. */
  readonly now: number;
  readonly database: OldTables;
  readonly objects: Readonly<Record<string, OldObject>>;
  readonly bucket: readonly { readonly key: string; readonly text: string }[];
}

export interface OldObject extends OldTables {
  readonly id: string;
  readonly kv: Readonly<Record<string, unknown>>;
  readonly alarm: number;
}

interface OldTables {
  readonly schema: readonly string[];
  readonly rows: Readonly<Record<string, readonly OldRow[]>>;
}

/** Bytes stand in it as base64. */
type OldRow = Readonly<Record<string, string | number | null | { readonly base64: string }>>;

/** To be called before anything else needs D1 in this test file. */
export async function restoreDatabase({ schema, rows }: OldTables): Promise<void> {
  for (const statement of schema) await env.DB.prepare(statement).run();
  for (const { sql, values } of toInserts(rows)) {
    const statement = env.DB.prepare(sql);
    await statement.bind(...values).run();
  }
}

export async function restoreBucket(bucket: OldState["bucket"]): Promise<void> {
  for (const { key, text } of bucket) await env.BUCKET.put(key, text);
}

/** The object leaves memory afterwards: what it knows next, it has read. */
export async function restoreObject({ id, schema, rows, kv, alarm }: OldObject): Promise<void> {
  const stub = env.COORDINATORS.getByName(id);
  await runInDurableObject(stub, async (_, { storage }) => {
    for (const statement of schema) storage.sql.exec(statement);
    for (const { sql, values } of toInserts(rows)) storage.sql.exec(sql, ...values);
    for (const [key, value] of Object.entries(kv)) storage.kv.put(key, value);
    await storage.setAlarm(alarm);
  });
  await evictDurableObject(stub);
}

function* toInserts(tables: OldTables["rows"]) {
  for (const [table, rows] of Object.entries(tables)) {
    for (const row of rows) {
      const columns = Object.keys(row);
      const places = columns.map(() => "?").join(", ");
      const values = Object.values(row).map((value) =>
        typeof value === "object" && value !== null ? toBytes(value) : value,
      );
      yield { sql: `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places})`, values };
    }
  }
}

function toBytes({ base64 }: { readonly base64: string }): ArrayBuffer {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
}
