/**
 * How the tables of D1 came to be what schema.sql says, in numbered steps: docs/decisions/versions.md. Steps are only ever
 * added. A change of schema.sql adds one here, and test/stores/schema.test.ts holds both to the same end.
 */
export interface SchemaStep {
  /** One more than the step before. */
  readonly version: number;
  /** Applied in one transaction. */
  readonly statements: readonly string[];
}

/** Version 1: the tables as they were before versions were counted, without `batches.runnable`. */
export const SCHEMA_STEPS: readonly SchemaStep[] = [
  { version: 2, statements: ["ALTER TABLE batches ADD COLUMN runnable INTEGER"] },
];

/** What schema.sql makes. */
export const NEWEST_SCHEMA_VERSION = 2;
