/** JSON whose shape nobody has checked: parsed without throwing, and looked into by name. */

export type ParsedJson = { readonly ok: true; readonly value: unknown } | { readonly ok: false };

export function parseJson(text: string): ParsedJson {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch {
    return { ok: false };
  }
}

/** Null when the text is no JSON, or not an object's. */
export function parseObject(text: string): Record<string, unknown> | null {
  const parsed = parseJson(text);
  return parsed.ok && isObject(parsed.value) ? parsed.value : null;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Whether all its strings are text, names of members included. JSON can spell half of a character (`\ud800`), which no
 * UTF-8 can hold: D1 would store something else than was answered (RFC 8259, 8.2).
 */
export function isUnicode(value: unknown): boolean {
  // Not recursive: a client may nest deeper than the stack goes.
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === "string" && !next.isWellFormed()) return false;
    if (typeof next !== "object" || next === null) continue;
    for (const [name, inner] of Object.entries(next)) {
      if (!name.isWellFormed()) return false;
      open.push(inner);
    }
  }
  return true;
}

/** An own member of an object or array; undefined where there is none. */
export function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}
