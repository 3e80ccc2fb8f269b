/** Which bytes of a file are asked for (RFC 9110, 14). One range is served, more are not. No I/O. */
import type { ByteRange } from "../domain/file.ts";

/**
 * @param header the `range` header.
 * @returns null when the whole file is to be sent: there is no such header, it asks for several ranges, or
 *   for nothing that can be understood. "unsatisfiable" when it asks for bytes the file does not have.
 */
export function readRange(header: string | undefined, fileBytes: number): ByteRange | "unsatisfiable" | null {
  const match = /^bytes= *([0-9]{0,15})-([0-9]{0,15}) *$/i.exec(header ?? "");
  const [, first = "", last = ""] = match ?? [];
  if (match === null || (first === "" && last === "")) return null;
  if (first === "") {
    const length = Math.min(Number(last), fileBytes);
    return length === 0 ? "unsatisfiable" : { offset: fileBytes - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? Infinity : Number(last);
  if (end < offset) return null;
  if (offset >= fileBytes) return "unsatisfiable";
  return { offset, length: Math.min(end + 1, fileBytes) - offset };
}
