/**
 * How the tables of a coordinator came to be what storage-schema.sql says, in numbered steps: docs/decisions/versions.md.
 * Steps are only ever added. A change of storage-schema.sql, or of a stored value that the doors of storage-rows.ts cannot
 * read tolerantly, adds one here.
 */
export interface StorageStep {
  /** One more than the step before. */
  readonly version: number;
  /** Applied in one transaction with the new version. */
  readonly statements: readonly string[];
}

/** Version 1: the tables as they were before versions were counted. */
export const FIRST_STORAGE_VERSION = 1;

export const STORAGE_STEPS: readonly StorageStep[] = [];

/** What storage-schema.sql makes. */
export const NEWEST_STORAGE_VERSION = STORAGE_STEPS.at(-1)?.version ?? FIRST_STORAGE_VERSION;
