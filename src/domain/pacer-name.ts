/** Names of pacers: one for each upstream, and one for each guest there, whose own key has limits of its own. Pure. */

/** No upstream's name has it (src/config.ts). */
const SEPARATOR = ":";

/** @param guest the tenant whose own key is sent; null: the configured one is. */
export function pacerName(upstream: string, guest: string | null): string {
  return guest === null ? upstream : `${upstream}${SEPARATOR}${guest}`;
}

export function isGuestsPacer(name: string): boolean {
  return name.includes(SEPARATOR);
}

export function upstreamOf(name: string): string {
  return name.split(SEPARATOR, 1)[0] ?? name;
}
