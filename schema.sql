-- Nightshift's D1 tables: metadata of files and batches. The Worker applies this itself to an empty
-- database (src/stores/schema.ts); a change here also needs its numbered step (src/stores/schema-steps.ts).
-- Every statement is idempotent. Times are milliseconds.

CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  purpose TEXT NOT NULL,
  filename TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  -- Set when the file was deleted while a batch still reads its bytes: clients no longer see it.
  deleted_at INTEGER
) STRICT;

CREATE INDEX IF NOT EXISTS files_by_tenant ON files (tenant, created_at, id);
CREATE INDEX IF NOT EXISTS files_by_purpose ON files (tenant, purpose, created_at, id);
CREATE INDEX IF NOT EXISTS files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS files_deleted ON files (deleted_at) WHERE deleted_at IS NOT NULL;

-- The listable copy of each batch. Its coordinator is the only writer and owns the truth until the
-- status is final.
CREATE TABLE IF NOT EXISTS batches (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  status TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  input_file_id TEXT NOT NULL,
  completion_window TEXT NOT NULL,
  upstream TEXT NOT NULL,
  model TEXT,
  metadata TEXT,
  errors TEXT,
  usage TEXT,
  output_file_id TEXT,
  error_file_id TEXT,
  output_expires_after_seconds INTEGER,
  total INTEGER NOT NULL,
  completed INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  -- Lines that could be in flight now; null: all that have no result.
  runnable INTEGER,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  in_progress_at INTEGER,
  finalizing_at INTEGER,
  completed_at INTEGER,
  failed_at INTEGER,
  expired_at INTEGER,
  cancelling_at INTEGER,
  cancelled_at INTEGER
) STRICT;

CREATE INDEX IF NOT EXISTS batches_by_tenant ON batches (tenant, created_at, id);
CREATE INDEX IF NOT EXISTS batches_live_by_file ON batches (input_file_id)
  WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX IF NOT EXISTS batches_live_by_id ON batches (id)
  WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX IF NOT EXISTS batches_live_by_upstream ON batches (upstream, status)
  WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');

-- Where each part of the sweep stopped, so that the next run goes on from there.
CREATE TABLE IF NOT EXISTS sweep_cursors (
  name TEXT PRIMARY KEY,
  position TEXT NOT NULL
) STRICT, WITHOUT ROWID;
