/** What a coordinator answers to a cancel that it does not accept. */

export const GONE = { ok: false, reason: "gone" };

export function tooLate(status: string) {
  return { ok: false, reason: "too_late", status };
}
