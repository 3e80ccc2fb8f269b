/** Ids: a prefix and 32 lowercase hex digits, the first 8 the creation time. Looked up, never parsed. */

export type IdPrefix = "batch_" | "file-" | "batch_req_" | "req_";

export const RANDOM_ID_BYTES = 12;

/** @param random 12 bytes; two ids of one second differ in them alone. */
export function makeId(prefix: IdPrefix, now: Date, random: Uint8Array): string {
  if (random.length !== RANDOM_ID_BYTES) {
    throw new RangeError(`an id takes ${RANDOM_ID_BYTES} random bytes, got ${random.length}`);
  }
  const seconds = Math.floor(now.getTime() / 1000);
  return prefix + seconds.toString(16).padStart(8, "0") + Array.from(random, toHex).join("");
}

function toHex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
