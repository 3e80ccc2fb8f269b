/** What a pacer uses of its storage, in memory, with the rows counted that it writes. Its one table has no index. */
import type { ObjectAlarm } from "../edge/edge.ts";
import type { Tally } from "./tally.ts";

export function makePacerStorage(alarm: ObjectAlarm, tally: Tally): DurableObjectStorage {
  const ids = new Set<string>();
  const values = new Map<string, unknown>();
  function countRow(): void {
    tally.objectRowsWritten += 1;
  }
  const storage = {
    sql: {
      exec: (sql: string, id?: string) => {
        if (sql.startsWith("SELECT")) return { toArray: () => [...ids].map((known) => ({ id: known })) };
        if (id === undefined) return { toArray: () => [] };
        countRow();
        if (sql.startsWith("DELETE")) ids.delete(id);
        else ids.add(id);
        return { toArray: () => [] };
      },
    },
    kv: {
      get: (key: string) => values.get(key),
      put: (key: string, value: unknown) => {
        countRow();
        values.set(key, value);
      },
    },
    setAlarm: (timeMs: number) => {
      countRow();
      alarm.set(timeMs);
      return Promise.resolve();
    },
  };
  return storage as unknown as DurableObjectStorage;
}
