/** Who may work on a batch and how much: slots among dispatches, dispatches to send, lines to hand over. Pure. */

import { shareEvenly } from "./even-shares.ts";
import { type DispatchPhase, TAKES_SLICES_FOR_MS } from "./conversation.ts";
import { queueOf } from "./dispatch-tokens.ts";

export interface DispatchState {
  readonly token: string;
  readonly phase: Exclude<DispatchPhase, "leaving">;
  /** When it was sent, or claimed. */
  readonly since: Date;
  /** It has no more lines in flight: as many as it was told it may have, or had when it last reported, and are with it. */
  readonly heldLines: number;
  /** It may not have more lines in flight; Infinity where nothing but `linesPerInvocation` limits it. */
  readonly mostSlots: number;
}

export interface Demand {
  /** Lines of the batch that may be in flight at once: all that its dispatches hold together is kept within it. */
  readonly allowedLines: number;
  /** Lines that nobody has and that could run now. */
  readonly claimableLines: number;
  readonly linesPerInvocation: number;
  /** The most dispatches that the batch may have. */
  readonly mostDispatches: number;
  readonly dispatches: readonly DispatchState[];
}

/** A dispatch that has lasted long enough makes room for another of its batch that has waited in the queue for this. */
const WAITS_TOO_LONG_MS = 10_000;

/** How many further dispatches to send. */
export function planDispatches(demand: Demand): number {
  const { allowedLines, claimableLines, linesPerInvocation, mostDispatches, dispatches } = demand;
  const sentSlots = linesPerInvocation * dispatches.filter(({ phase }) => phase === "sent").length;
  const workingSlots = sharedSlots(demand);
  const freeSlots = allowedLines - heldBy(demand, "winding_down") - sentSlots - workingSlots;
  const unservedLines = claimableLines - sentSlots;
  const wanted = Math.ceil(Math.min(freeSlots, unservedLines) / linesPerInvocation);
  return Math.max(0, Math.min(wanted, mostDispatches - dispatches.length));
}

/**
 * How many messages without work to put into the queue in front of `sentNow` dispatches. The platform looks whether more
 * consumers are needed when one has ended (developers.cloudflare.com/queues/configuration/consumer-concurrency), and a
 * dispatch lasts minutes. A message without work ends at once: one for each consumer that the batch has not had yet.
 * @param atOnce dispatches that are in the queue or at work when these are sent.
 * @param hadAtOnce the most consumers that have worked for the batch at once.
 */
export function planScaleMessages(sentNow: number, atOnce: number, hadAtOnce: number): number {
  return Math.min(sentNow, Math.max(0, atOnce - hadAtOnce));
}

/**
 * How many lines `token` may have in flight. What is allowed is shared out evenly among those that work, but what one
 * cannot have goes to the others, and what others hold is theirs until they have heard of their smaller part. 0: others hold all that is allowed, and this one has
 * nothing to do.
 */
export function planSlots(demand: Demand, token: string): number {
  const working = demand.dispatches.filter(({ phase }) => phase === "working");
  const rank = working.findIndex((dispatch) => dispatch.token === token);
  const own = working[rank];
  if (own === undefined) return 0;
  const shared = Math.max(0, demand.allowedLines - heldBy(demand, "winding_down"));
  const most = working.map(({ mostSlots }) => Math.min(demand.linesPerInvocation, mostSlots));
  const share = shareEvenly(shared, most)[rank] ?? 0;
  const free = shared - heldBy(demand, "working") + own.heldLines;
  // One line that it holds already is no further one.
  return Math.min(share, Math.max(free, Math.min(1, own.heldLines)));
}

/**
 * How many of the lines that a dispatch wants it may have. Lines for which dispatches still in the queue were sent
 * are left to those, so that the lines of a small batch spread over many consumers. Of the other lines it gets the
 * same fraction as its slots are of all lines allowed. Towards the end of a batch that is fewer and fewer lines at a
 * time, so that all dispatches end together (guided self-scheduling, Polychronopoulos and Kuck, 1987).
 */
export function planGrant(demand: Demand, slots: number, wantedLines: number): number {
  const { allowedLines, claimableLines, linesPerInvocation, dispatches } = demand;
  const reserved = linesPerInvocation * dispatches.filter(({ phase }) => phase === "sent").length;
  const free = Math.max(0, claimableLines - reserved);
  const part = Math.ceil((free * slots) / Math.max(slots, allowedLines));
  return Math.min(wantedLines, free, Math.max(slots, part));
}

/**
 * Whether `token` has had its time: another dispatch has waited in the same queue long enough, and the platform adds
 * consumers to a queue as others end (developers.cloudflare.com/queues/configuration/consumer-concurrency).
 */
export function mustMakeRoom({ dispatches }: Demand, token: string, now: Date): boolean {
  const hasLasted = (dispatch: DispatchState, ms: number) => now.getTime() >= dispatch.since.getTime() + ms;
  const own = dispatches.find((dispatch) => dispatch.token === token);
  if (own === undefined || !hasLasted(own, TAKES_SLICES_FOR_MS)) return false;
  const waiting = dispatches.filter(({ phase }) => phase === "sent");
  return waiting.some((other) => queueOf(other.token) === queueOf(token) && hasLasted(other, WAITS_TOO_LONG_MS));
}

function sharedSlots(demand: Demand): number {
  const working = demand.dispatches.filter(({ phase }) => phase === "working");
  const most = working.reduce((slots, { mostSlots }) => slots + Math.min(demand.linesPerInvocation, mostSlots), 0);
  return Math.min(most, Math.max(working.length, demand.allowedLines));
}

function heldBy({ dispatches }: Demand, phase: DispatchState["phase"]): number {
  return dispatches.reduce((lines, one) => (one.phase === phase ? lines + one.heldLines : lines), 0);
}
