/** The two SQL interfaces of the platform, a Durable Object's storage and D1, over Node's own SQLite. In memory. */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { ObjectAlarm } from "./edge.ts";

type Row = Record<string, SqlStorageValue>;

class PreparedCache {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  get(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** What a coordinator uses of its storage. */
export function makeObjectStorage(alarm: ObjectAlarm): DurableObjectStorage {
  let db = new DatabaseSync(":memory:");
  let statements = new PreparedCache(db);
  let depth = 0;
  const values = new Map<string, unknown>();
  const storage = {
    sql: {
      exec: (sql: string, ...params: (SQLInputValue | ArrayBuffer)[]) => {
        if (params.length === 0 && sql.includes("CREATE TABLE")) {
          db.exec(sql);
          return toCursor([]);
        }
        const bound = params.map((value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value));
        return toCursor(
          statements
            .get(sql)
            .all(...bound)
            .map(toRow),
        );
      },
    },
    kv: {
      get: (key: string) => values.get(key),
      put: (key: string, value: unknown) => void values.set(key, value),
      delete: (key: string) => values.delete(key),
    },
    transactionSync: <Value>(work: () => Value): Value => {
      const name = `step_${depth}`;
      depth += 1;
      db.exec(`SAVEPOINT ${name}`);
      try {
        const value = work();
        db.exec(`RELEASE ${name}`);
        return value;
      } catch (error) {
        db.exec(`ROLLBACK TO ${name}; RELEASE ${name}`);
        throw error;
      } finally {
        depth -= 1;
      }
    },
    setAlarm: (timeMs: number) => {
      alarm.set(timeMs);
      return Promise.resolve();
    },
    deleteAlarm: () => {
      alarm.clear();
      return Promise.resolve();
    },
    deleteAll: () => {
      alarm.clear();
      values.clear();
      db.close();
      db = new DatabaseSync(":memory:");
      statements = new PreparedCache(db);
      return Promise.resolve();
    },
  };
  return storage as unknown as DurableObjectStorage;
}

/** @param travel called once for each call. */
export function makeDatabase(travel: () => Promise<void>): D1Database {
  const db = new DatabaseSync(":memory:");
  const statements = new PreparedCache(db);
  interface Prepared {
    readonly bind: (...values: SQLInputValue[]) => Prepared;
    readonly execute: () => Row[];
    readonly run: () => Promise<unknown>;
    readonly all: () => Promise<unknown>;
    readonly first: (column?: string) => Promise<unknown>;
  }
  function prepare(sql: string, values: readonly SQLInputValue[] = []): Prepared {
    const execute = () =>
      statements
        .get(sql)
        .all(...values)
        .map(toRow);
    const answer = async () => {
      await travel();
      return { results: execute(), meta: {} };
    };
    return {
      bind: (...bound) => prepare(sql, bound),
      execute,
      run: answer,
      all: answer,
      first: async (column) => {
        const [row] = (await answer()).results;
        if (row === undefined) return null;
        return column === undefined ? row : row[column];
      },
    };
  }
  const database = {
    prepare: (sql: string) => prepare(sql),
    batch: async (prepared: readonly Prepared[]) => {
      await travel();
      return prepared.map((statement) => ({ results: statement.execute(), meta: {} }));
    },
  };
  return database as unknown as D1Database;
}

function toRow(row: object): Row {
  const entries = Object.entries(row).map(([name, value]: [string, unknown]) => [
    name,
    value instanceof Uint8Array ? value.slice().buffer : value,
  ]);
  return Object.fromEntries(entries) as Row;
}

function toCursor(rows: readonly Row[]) {
  return { toArray: () => rows, [Symbol.iterator]: () => rows[Symbol.iterator]() };
}
