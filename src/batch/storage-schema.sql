-- The coordinator's own tables, in its Durable Object. Rows are billed: see docs/performance.md before
-- adding an index or a column that changes often. Times are milliseconds.
-- A change here also needs its numbered step (storage-steps.ts).

-- One row: the batch, as JSON.
CREATE TABLE IF NOT EXISTS batch (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  record TEXT NOT NULL,
  sealed_key TEXT,
  ending TEXT,
  ends_by INTEGER,
  final TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS slices (
  idx INTEGER PRIMARY KEY,
  first_line INTEGER NOT NULL,
  line_count INTEGER NOT NULL,
  byte_start INTEGER NOT NULL,
  byte_length INTEGER NOT NULL,
  progress TEXT NOT NULL,
  token TEXT
) STRICT;

-- `lines`: three 32-bit numbers a line: its number, its bytes in the chunk, its result.
CREATE TABLE IF NOT EXISTS chunks (
  key TEXT PRIMARY KEY,
  lines BLOB NOT NULL,
  usage TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS dispatches (
  token TEXT PRIMARY KEY,
  phase TEXT NOT NULL
) STRICT, WITHOUT ROWID;
