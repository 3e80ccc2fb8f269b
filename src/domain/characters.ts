/** Texts by what a person calls a character: a code point, not half of a surrogate pair. */

/** Takes no memory, however long the text. */
export function countCharacters(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; count += 1) at += (text.codePointAt(at) ?? 0) > 0xff_ff ? 2 : 1;
  return count;
}

/** The first `units` UTF-16 units, or one less where they would end in half of a character. */
export function firstCharacters(text: string, units: number): string {
  const kept = text.slice(0, units);
  return kept.length < text.length && /[\uD800-\uDBFF]$/.test(kept) ? kept.slice(0, -1) : kept;
}
