/**
 * Why a request is refused that is well formed, in OpenAI's words: a key, a path, an object or a file that will
 * not do. What is wrong with a parameter is in `refusal.ts`. Which HTTP status goes with it is `http/`'s.
 */
import type { FileRecord } from "../domain/file.ts";
import { type Refusal, shorten } from "./refusal.ts";

export const NO_KEY: Refusal = plainRefusal(
  "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
);

export const WRONG_KEY: Refusal = {
  code: "invalid_api_key",
  message: "Incorrect API key provided.",
  param: null,
};

export const NOT_JSON: Refusal = plainRefusal("We could not parse the JSON body of your request.");
export const NOT_UNICODE: Refusal = plainRefusal(
  "A string in the JSON body of your request is no valid Unicode: it has a lone surrogate.",
);
export const NOT_JSONL: Refusal = plainRefusal("Invalid file format for Batch API. Must be .jsonl");
export const FILE_TOO_LARGE: Refusal = plainRefusal("File is too large.");
export const OUR_FAULT: Refusal = plainRefusal("The server had an error while processing your request.");
export const MISCONFIGURED: Refusal = plainRefusal("The server is misconfigured.");
export const NOT_STARTED: Refusal = plainRefusal("The batch could not be started. Please try again.");
export const NOT_CANCELLED_NOW: Refusal = plainRefusal("The batch could not be cancelled. Please try again.");
export const CONDITION_FAILED: Refusal = plainRefusal(
  "The file is not the one that if-match or if-unmodified-since means.",
);
export const KEY_NOT_CHECKED: Refusal = plainRefusal(
  "The provider could not be asked whether it knows your API key. Please try again.",
);

/** For most of OpenAI's refusals, which have neither code nor param. */
export function plainRefusal(message: string): Refusal {
  return { code: null, message, param: null };
}

export function noSuchFile(id: string): Refusal {
  return { code: null, message: `No such File object: ${shorten(id)}`, param: "id" };
}

export function noSuchBatch(id: string): Refusal {
  return plainRefusal(`No batch found with id '${shorten(id)}'.`);
}

export function noSuchPath(method: string, path: string): Refusal {
  return plainRefusal(`Invalid URL (${method} ${shorten(path)})`);
}

export function noSuchMethod(method: string, path: string): Refusal {
  return { code: "method_not_supported", message: `Not allowed to ${method} on ${shorten(path)}.`, param: null };
}

export function notDownloadable(purpose: string): Refusal {
  return plainRefusal(`Not allowed to download files of purpose: ${purpose}`);
}

export function notCancellable(status: string): Refusal {
  return plainRefusal(`Cannot cancel a batch with status '${status}'.`);
}

export function notAnInput({ id, purpose }: FileRecord): Refusal {
  return {
    code: "invalid_value",
    message: `Invalid file: '${id}' has the purpose '${purpose}', but a batch takes a file with the purpose 'batch'.`,
    param: "input_file_id",
  };
}
