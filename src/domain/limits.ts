/** Every limit in one place, each with its source: the wire contract, a page of the platform, or a rule of ours. */

const KIB = 1024;
const MIB = 1024 * KIB;
const HOUR_SECONDS = 3600;
const DAY_SECONDS = 24 * HOUR_SECONDS;

/** platform.openai.com/docs/guides/batch: "up to 200 MB in size". */
export const MAX_FILE_BYTES = 200 * MIB;
/** platform.openai.com/docs/guides/batch: 50,000 embedding inputs over all requests of a batch. */
export const MAX_EMBEDDING_INPUTS = 50_000;
/** Ours: a line must fit an isolate's memory several times (developers.cloudflare.com/workers/platform/limits/#memory). */
export const MAX_LINE_BYTES = 8 * MIB;
/** Ours: input that a consumer is handed at once, or holds unsent; a single longer line is an exception. */
export const MAX_HANDED_BYTES = 4 * MIB;
/** Ours: an id is stored and echoed with every result. */
export const MAX_CUSTOM_ID_CHARACTERS = 512;
/** Ours: the most reasons that are listed; the rest is only counted. */
export const MAX_LISTED_PROBLEMS = 1000;
/** Ours: the answers that one invocation may hold, five at a time, must fit an isolate's memory. */
export const MAX_ANSWER_BYTES = 16 * MIB;

export const MAX_METADATA_PAIRS = 16;
export const MAX_METADATA_KEY_CHARACTERS = 64;
export const MAX_METADATA_VALUE_CHARACTERS = 512;

export const MIN_EXPIRES_AFTER_SECONDS = HOUR_SECONDS;
export const MAX_EXPIRES_AFTER_SECONDS = 30 * DAY_SECONDS;
/** Batch and output files live 30 days unless the client says otherwise. */
export const DEFAULT_FILE_LIFE_SECONDS = 30 * DAY_SECONDS;

export const BATCHES_PER_PAGE = { least: 1, most: 100, usual: 20 } as const;
export const FILES_PER_PAGE = { least: 1, most: 10_000, usual: 10_000 } as const;

/** Ours: a whole form, with what stands before, between and behind its parts. */
export const MAX_FORM_BYTES = MAX_FILE_BYTES + 1 * MIB;
/** Ours: a JSON request body; the largest allowed (16 metadata pairs) is under 64 KiB. */
export const MAX_JSON_BODY_BYTES = 1 * MIB;
/** developers.cloudflare.com/r2/objects/multipart-objects: parts of at least 5 MiB, all equal but the last. */
export const UPLOAD_PART_BYTES = 5 * MIB;
/**
 * Ours: the file's bytes that one upload may hold on their way to R2. With what is being read and parsed it
 * stays below 8 MiB: many uploads arrive in one isolate, which has 128 MB.
 */
export const MAX_UPLOAD_HELD_BYTES = 7 * MIB;
