/** Asks D1 and R2 for a sign of life. */

/** @throws whatever D1 or R2 throw when they cannot be reached. */
export async function probeStores(db: D1Database, bucket: R2Bucket): Promise<void> {
  await Promise.all([db.prepare("SELECT 1").first(), bucket.head("healthz")]);
}
