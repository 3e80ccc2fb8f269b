/** New ids, each with fresh random bytes. What an id looks like is the domain's. */
import { type IdPrefix, makeId, RANDOM_ID_BYTES } from "./domain/ids.ts";

export function newId(prefix: IdPrefix, now: Date): string {
  return makeId(prefix, now, crypto.getRandomValues(new Uint8Array(RANDOM_ID_BYTES)));
}
