/** Who may work on a batch and how much: slots among dispatches, dispatches to send, lines to hand over. Pure. */

import { MOST_DISPATCHES } from "./consumers.ts";
import { type DispatchPhase, TAKES_SLICES_FOR_MS } from "./conversation.ts";

export interface DispatchState {
  readonly token: string;
  readonly phase: Exclude<DispatchPhase, "leaving">;
  /** When it was sent, or claimed. */
  readonly since: Date;
  readonly openLines: number;
  /** Lines that it was last told it may have in flight. */
  readonly slots: number;
}

export interface Demand {
  /** Lines that may be in flight upstream at once. */
  readonly allowedLines: number;
  /** Lines that nobody has and that could run now. */
  readonly claimableLines: number;
  readonly linesPerInvocation: number;
  readonly dispatches: readonly DispatchState[];
}

/** A dispatch that has lasted long enough makes room for another of its batch that has waited in the queue for this. */
const WAITS_TOO_LONG_MS = 10_000;

/** How many further dispatches to send. */
export function planDispatches(demand: Demand): number {
  const { allowedLines, claimableLines, linesPerInvocation, dispatches } = demand;
  const sentSlots = linesPerInvocation * dispatches.filter(({ phase }) => phase === "sent").length;
  const workingSlots = sharedSlots(demand);
  const freeSlots = allowedLines - windingDownLines(demand) - sentSlots - workingSlots;
  const unservedLines = claimableLines - sentSlots;
  const wanted = Math.ceil(Math.min(freeSlots, unservedLines) / linesPerInvocation);
  return Math.max(0, Math.min(wanted, MOST_DISPATCHES - dispatches.length));
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
 * How many lines `token` may have in flight. What is allowed is shared out evenly among those that work, but what others
 * were given is theirs until they have heard of their smaller part. 0 means that more dispatches work than there are
 * lines allowed, and this one has nothing to do.
 */
export function planSlots(demand: Demand, token: string): number {
  const working = demand.dispatches.filter(({ phase }) => phase === "working");
  const rank = working.findIndex((dispatch) => dispatch.token === token);
  if (rank === -1) return 0;
  const shared = Math.max(1, demand.allowedLines - windingDownLines(demand));
  const even = Math.floor(shared / working.length);
  const share = rank < shared % working.length ? even + 1 : even;
  const given = working.reduce((slots, dispatch) => (dispatch.token === token ? slots : slots + dispatch.slots), 0);
  return Math.min(demand.linesPerInvocation, share, Math.max(1, shared - given));
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
 * Whether `token` has had its time: another dispatch has waited for a consumer long enough, and the platform adds
 * consumers as others end (developers.cloudflare.com/queues/configuration/consumer-concurrency).
 */
export function mustMakeRoom({ dispatches }: Demand, token: string, now: Date): boolean {
  const hasLasted = (dispatch: DispatchState, ms: number) => now.getTime() >= dispatch.since.getTime() + ms;
  const own = dispatches.find((dispatch) => dispatch.token === token);
  if (own === undefined || !hasLasted(own, TAKES_SLICES_FOR_MS)) return false;
  return dispatches.some((other) => other.phase === "sent" && hasLasted(other, WAITS_TOO_LONG_MS));
}

function sharedSlots(demand: Demand): number {
  const count = demand.dispatches.filter(({ phase }) => phase === "working").length;
  return Math.min(count * demand.linesPerInvocation, Math.max(count, demand.allowedLines));
}

/** Of the lines that such a dispatch still has, no more are in flight than it has slots. */
function windingDownLines({ dispatches }: Demand): number {
  return dispatches.reduce(
    (lines, { phase, openLines, slots }) => (phase === "winding_down" ? lines + Math.min(openLines, slots) : lines),
    0,
  );
}
