/** What a pacer knows of a batch that runs on its upstream. Pure. */
import type { GrantNumber } from "./grant.ts";
import { GrantsOut } from "./grants-out.ts";
import { Unserved } from "./unserved.ts";
import type { RunningBatch } from "./upstream-share.ts";

export interface Member {
  /** As it last said. Null: it has said nothing to this pacer yet. */
  said: RunningBatch | null;
  /** Number of that statement. */
  saidNumber: number;
  readonly out: GrantsOut;
  /** Number of the latest grant that was handed over, be it that it never arrived. */
  toldNumber: number;
  /** The last attempt to tell it something has failed, and it has said nothing since. */
  isUnreachable: boolean;
  /** When it was last heard of, in ms. */
  heardAt: number;
  readonly unserved: Unserved;
}

/** @param latest grant of its pacer to anybody. */
export function newMember(latest: GrantNumber, now: Date): Member {
  return {
    said: null,
    saidNumber: 0,
    out: new GrantsOut(latest),
    toldNumber: latest.number,
    isUnreachable: false,
    heardAt: now.getTime(),
    unserved: new Unserved(),
  };
}

/** Lines that it could have in flight by its latest grant. */
export function usableLines({ said, out }: Member): number {
  return Math.min(out.lines, said?.runnableLines ?? 0);
}
