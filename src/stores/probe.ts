/** Asks D1 and R2 for a sign of life. Each throws what its store throws when it cannot be reached. */

export async function probeDatabase(db: D1Database): Promise<void> {
  await db.prepare("SELECT 1").first();
}

export async function probeBucket(bucket: R2Bucket): Promise<void> {
  await bucket.head("healthz");
}
