/** Counts what each binding is asked for, in the units in which it is billed, and passes everything on unchanged. */
import type { Tally } from "./tally.ts";

/** developers.cloudflare.com/r2/pricing: deletes and aborts are free. */
export function countBucket(bucket: R2Bucket, tally: Tally): R2Bucket {
  const classA = <Value>(value: Value): Value => {
    tally.bucketClassA += 1;
    return value;
  };
  const classB = <Value>(value: Value): Value => {
    tally.bucketClassB += 1;
    return value;
  };
  const counted = {
    put: (...args: Parameters<R2Bucket["put"]>) => classA(bucket.put(...args)),
    list: (...args: Parameters<R2Bucket["list"]>) => classA(bucket.list(...args)),
    get: (key: string, options: R2GetOptions) => classB(bucket.get(key, options)),
    head: (key: string) => classB(bucket.head(key)),
    delete: (keys: string | string[]) => bucket.delete(keys),
    createMultipartUpload: async (key: string) => {
      const upload = await classA(bucket.createMultipartUpload(key));
      return {
        uploadPart: (...args: Parameters<R2MultipartUpload["uploadPart"]>) => classA(upload.uploadPart(...args)),
        complete: (parts: R2UploadedPart[]) => classA(upload.complete(parts)),
        abort: () => upload.abort(),
      };
    },
  };
  return counted as unknown as R2Bucket;
}

/** @param onCall what the call's promise is passed through. */
export function countDatabase(
  db: D1Database,
  tally: Tally,
  onCall: <Value>(call: Promise<Value>) => Promise<Value>,
): D1Database {
  const originals = new WeakMap<object, D1PreparedStatement>();

  function count<Row>(result: D1Result<Row>): D1Result<Row> {
    tally.databaseRowsRead += result.meta.rows_read;
    tally.databaseRowsWritten += result.meta.rows_written;
    return result;
  }

  function wrap(statement: D1PreparedStatement) {
    const all = async () => count(await onCall(statement.all()));
    const wrapped = {
      bind: (...values: unknown[]) => wrap(statement.bind(...values)),
      run: all,
      all,
      // D1's own `first` says nothing of the rows that it read.
      first: async (column?: string) => {
        const [row] = (await all()).results;
        if (row === undefined) return null;
        return column === undefined ? row : row[column];
      },
    };
    originals.set(wrapped, statement);
    return wrapped;
  }

  const counted = {
    prepare: (sql: string) => wrap(db.prepare(sql)),
    batch: async (statements: readonly object[]) => {
      const known = statements.map((statement) => originals.get(statement)).filter((one) => one !== undefined);
      return (await onCall(db.batch(known))).map(count);
    },
  };
  return counted as unknown as D1Database;
}

export interface StorageCounter {
  /** To be called when all is over: a cursor knows its rows only when it has been read. */
  readonly finish: () => void;
}

/** Replaces methods of the object's own storage: its state is the platform's, and takes no other. */
export function countStorage(storage: DurableObjectStorage, tally: Tally): StorageCounter {
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
  const exec = storage.sql.exec.bind(storage.sql);
  const deleteAll = storage.deleteAll.bind(storage);
  Object.assign(storage.sql, {
    exec: (sql: string, ...values: unknown[]) => {
      const cursor = exec(sql, ...values);
      cursors.push(cursor);
      return cursor;
    },
  });
  const { kv } = storage;
  const [get, put, remove] = [kv.get.bind(kv), kv.put.bind(kv), kv.delete.bind(kv)];
  Object.assign(kv, {
    get: (key: string) => {
      tally.objectRowsRead += 1;
      return get(key);
    },
    put: (key: string, value: unknown) => {
      tally.objectRowsWritten += 1;
      put(key, value);
    },
    delete: (key: string) => {
      tally.objectRowsWritten += 1;
      return remove(key);
    },
  });
  Object.assign(storage, {
    // Not documented as billed; counted as one row.
    deleteAll: () => {
      tally.objectRowsWritten += 1;
      return deleteAll();
    },
  });
  return {
    finish: () => {
      for (const { rowsRead, rowsWritten } of cursors) {
        tally.objectRowsRead += rowsRead;
        tally.objectRowsWritten += rowsWritten;
      }
      cursors.length = 0;
    },
  };
}
