/** What a client sends to create a batch, checked as the table of the wire contract (§2, Create) says. */
import * as z from "zod";
import { countCharacters } from "../domain/characters.ts";
import {
  MAX_EXPIRES_AFTER_SECONDS,
  MAX_METADATA_KEY_CHARACTERS,
  MAX_METADATA_PAIRS,
  MAX_METADATA_VALUE_CHARACTERS,
  MIN_EXPIRES_AFTER_SECONDS,
} from "../domain/limits.ts";
import { ENDPOINT_PATHS } from "./endpoints.ts";
import { integer, oneOf } from "./fields.ts";
import { isObject } from "./json.ts";
import { type CustomRefusal, tooLong } from "./refusal.ts";

export interface BatchOrder {
  readonly inputFileId: string;
  readonly endpoint: string;
  readonly completionWindow: string;
  readonly metadata: Readonly<Record<string, string>> | null;
  /** Counted from the creation of the output file; null: the usual time. */
  readonly outputExpiresAfterSeconds: number | null;
}

/** Ours: an id is stored and repeated in messages. The longest real one has 37 characters. */
const MAX_ID_CHARACTERS = 256;

/** A map in between: zod's records lose the key `__proto__`. */
const metadataSchema = z
  .preprocess((value) => (isObject(value) ? new Map(Object.entries(value)) : value), z.map(z.string(), z.string()))
  .check(({ value, issues }) => {
    const pairs = [...value];
    if (pairs.length > MAX_METADATA_PAIRS) {
      issues.push({ code: "custom", input: value, params: tooManyProperties(pairs.length) });
    }
    for (const [name, text] of pairs) {
      const [nameLength, textLength] = [countCharacters(name), countCharacters(text)];
      if (nameLength > MAX_METADATA_KEY_CHARACTERS) {
        issues.push({ code: "custom", input: value, params: propertyNameTooLong(nameLength) });
      } else if (textLength > MAX_METADATA_VALUE_CHARACTERS) {
        issues.push({
          code: "custom",
          input: text,
          path: [name],
          params: tooLong(`metadata.${name}`, MAX_METADATA_VALUE_CHARACTERS, textLength),
        });
      }
    }
  })
  .transform((pairs) => Object.fromEntries(pairs));

/** An empty one is what a client in a language of zero values sends when it names no file. */
const fileIdSchema = z
  .string()
  .max(MAX_ID_CHARACTERS)
  .check(({ value, issues }) => {
    if (value === "") issues.push({ code: "invalid_type", expected: "string", input: undefined });
  });

/** @param windows the deployment's completion windows. */
export function batchOrderSchema(windows: readonly string[]) {
  return z
    .object({
      input_file_id: fileIdSchema,
      endpoint: oneOf(ENDPOINT_PATHS),
      completion_window: oneOf(windows),
      metadata: metadataSchema.nullish(),
      output_expires_after: z
        .object({
          anchor: oneOf(["created_at"]),
          seconds: integer(MIN_EXPIRES_AFTER_SECONDS, MAX_EXPIRES_AFTER_SECONDS),
        })
        .nullish(),
    })
    .transform((body): BatchOrder => ({
      inputFileId: body.input_file_id,
      endpoint: body.endpoint,
      completionWindow: body.completion_window,
      metadata: body.metadata ?? null,
      outputExpiresAfterSeconds: body.output_expires_after?.seconds ?? null,
    }));
}

function tooManyProperties(count: number): CustomRefusal {
  return {
    code: "object_above_max_properties",
    message: `Invalid 'metadata': too many properties. Expected an object with at most ${MAX_METADATA_PAIRS} properties, but got an object with ${count} properties instead.`,
  };
}

function propertyNameTooLong(length: number): CustomRefusal {
  return {
    code: "property_name_above_max_length",
    message: `Invalid 'metadata': property name too long. Expected a property name with maximum length ${MAX_METADATA_KEY_CHARACTERS}, but got a property name with length ${length} instead.`,
  };
}
