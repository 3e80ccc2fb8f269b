/**
 * Brings what batches were granted to their shares. Smaller grants come first, and make room for larger ones only when their
 * batches have heard of them (grants-out.ts). Where little changes, only who hears of it anyway is granted it. Pure.
 */
import { isMuch } from "./grants-out.ts";
import type { Member } from "./member.ts";

type Members = ReadonlyMap<string, Pick<Member, "said" | "out">>;
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

export function makeSmaller(
  members: Members,
  shares: Shares,
  { isPaused, isOver, hearer, nextNumber }: Shrinking,
): void {
  const isWanted =
    isPaused || isOver || [...shares].some(([id, share]) => share > (members.get(id)?.out.reservedLines ?? share));
  for (const [id, { said, out }] of members) {
    const share = shares.get(id) ?? 0;
    // What one of an earlier life has nobody knows before it says so.
    if (said === null || share >= out.lines) continue;
    // By a call of its own, whose answer says that it was heard; the answer to a statement may be lost.
    const isToldSoon = isMuch(out.lines, share) && !isPaused;
    if (isToldSoon ? isWanted && hearer === null : id === hearer || isPaused) out.grant(share, nextNumber());
  }
}

/** @param room lines that nobody has, nor may believe to have. */
export function makeLarger(
  members: Members,
  shares: Shares,
  { room, hearer, nextNumber }: Hearing & { readonly room: number },
): void {
  let left = room;
  for (const [id, share] of shares) {
    const out = members.get(id)?.out;
    if (out === undefined || share <= out.lines) continue;
    const reserved = out.reservedLines;
    const lines = Math.min(share, reserved + left);
    if (lines <= out.lines || !(id === hearer || isMuch(out.lines, lines))) continue;
    out.grant(lines, nextNumber());
    left -= Math.max(0, lines - reserved);
  }
}
