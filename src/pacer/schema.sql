-- A pacer's own table, in its Durable Object: the batches that run on its upstream, so that after a restart it waits
-- until they have said what they hold.
CREATE TABLE IF NOT EXISTS batches (
  id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
