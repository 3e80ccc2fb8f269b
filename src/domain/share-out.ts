/**
 * Brings what batches were granted to their shares. Smaller grants come first, and make room for larger ones only when their
 * batches have heard of them (grants-out.ts). Where little changes, only who hears of it anyway is granted it. Pure.
 */
import { type GrantsOut, isMuch } from "./grants-out.ts";

type Grants = ReadonlyMap<string, GrantsOut>;
type Shares = ReadonlyMap<string, number>;

interface Hearing {
  /** The batch that is answered now; null: nobody is. */
  readonly hearer: string | null;
  /** Of the next grant. */
  readonly nextNumber: () => number;
}

interface Shrinking extends Hearing {
  readonly isPaused: boolean;
  /** More is granted than the upstream may have. */
  readonly isOver: boolean;
}

export function makeSmaller(grants: Grants, shares: Shares, { isPaused, isOver, hearer, nextNumber }: Shrinking): void {
  const shareOf = (id: string) => shares.get(id) ?? 0;
  const isWanted = isPaused || isOver || [...grants].some(([id, out]) => shareOf(id) > out.reservedLines);
  for (const [id, out] of grants) {
    const share = shareOf(id);
    if (share >= out.lines) continue;
    // By a call of its own, whose answer says that it was heard; the answer to a statement may be lost.
    const isToldSoon = isMuch(out.lines, share) && !isPaused;
    if (isToldSoon ? isWanted && hearer === null : id === hearer || isPaused) out.grant(share, nextNumber());
  }
}

/** @param room lines that nobody has, nor may believe to have. */
export function makeLarger(
  grants: Grants,
  shares: Shares,
  { room, hearer, nextNumber }: Hearing & { readonly room: number },
): void {
  let left = room;
  for (const [id, share] of shares) {
    const out = grants.get(id);
    if (out === undefined || share <= out.lines) continue;
    const reserved = out.reservedLines;
    const lines = Math.min(share, reserved + left);
    if (lines <= out.lines || !(id === hearer || isMuch(out.lines, lines))) continue;
    out.grant(lines, nextNumber());
    left -= Math.max(0, lines - reserved);
  }
}
