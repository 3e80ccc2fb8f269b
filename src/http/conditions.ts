/** Whether a request's conditions let a file be sent (RFC 9110, 13). No I/O. */

/** What tells one version of a file from another. A file never changes, so both say when and what it was made. */
export interface Version {
  /** With its quotes; a strong one. */
  readonly etag: string;
  /** As the `last-modified` header has it. */
  readonly lastModified: string;
}

/** In the order of RFC 9110, 13.2.2: a tag counts before a time, and what would fail before what would be saved. */
export function checkConditions(headers: Headers, version: Version): "send" | "not_modified" | "failed" {
  const [match, noneMatch] = [headers.get("if-match"), headers.get("if-none-match")];
  const lastModified = Date.parse(version.lastModified);
  if (match !== null) {
    if (!listsTag(match, ["*", version.etag])) return "failed";
  } else if (lastModified > (readTime(headers.get("if-unmodified-since")) ?? Infinity)) {
    return "failed";
  }
  // 13.1.2: compared weakly, unlike above.
  if (noneMatch !== null) {
    return listsTag(noneMatch, ["*", version.etag, `W/${version.etag}`]) ? "not_modified" : "send";
  }
  return lastModified <= (readTime(headers.get("if-modified-since")) ?? -Infinity) ? "not_modified" : "send";
}

/** RFC 9110, 13.1.5: a range of another version is not wanted. */
export function allowsRange(headers: Headers, { etag, lastModified }: Version): boolean {
  const condition = headers.get("if-range");
  return condition === null || condition === etag || condition === lastModified;
}

function listsTag(list: string, tags: readonly string[]): boolean {
  return list.split(",").some((entry) => tags.includes(entry.trim()));
}

/** Null when it is no HTTP date, and then does not count (RFC 9110, 13.1.3 and 13.1.4). */
function readTime(text: string | null): number | null {
  if (text === null || !/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return null;
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : time;
}
