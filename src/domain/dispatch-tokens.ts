/**
 * The token of a dispatch names the queue that its message goes to: nothing else remembers it, and it stays true when the
 * deployment gets more queues or fewer. Queues are counted from 0, as `dispatchQueues` in the settings lists them. Pure.
 */

/** Behind it the number of the queue, as its binding has it; a token without it is one of the first queue. */
const QUEUE_NUMBER = /\.(\d+)$/;

export function queueOf(token: string): number {
  const number = QUEUE_NUMBER.exec(token)?.[1];
  return number === undefined ? 0 : Number(number) - 1;
}

export interface TokenPlaces {
  /** Queues to which dispatches may go; at least one. */
  readonly queues: readonly number[];
  /** The tokens of the batch's other dispatches. */
  readonly tokens: readonly string[];
}

export interface Chance {
  readonly makeId: () => string;
  /** From 0 to 1, without 1. */
  readonly random: () => number;
}

/**
 * Makes tokens one after another. Each goes to the queue in which the batch has the fewest dispatches, so that no batch has
 * much more of one queue's consumers than of another's; of several such queues chance decides, so that small batches do not all go to the first.
 */
export function tokenMaker({ queues, tokens }: TokenPlaces, { makeId, random }: Chance): () => string {
  const counts = new Map(queues.map((queue) => [queue, 0]));
  for (const token of tokens) count(counts, queueOf(token));
  return () => {
    const fewest = Math.min(...counts.values());
    const places = queues.filter((queue) => counts.get(queue) === fewest);
    const queue = places[places.length === 1 ? 0 : Math.floor(random() * places.length)] ?? 0;
    const id = makeId();
    count(counts, queue);
    return queue === 0 ? id : `${id}.${queue + 1}`;
  };
}

function count(counts: Map<number, number>, queue: number): void {
  const known = counts.get(queue);
  if (known !== undefined) counts.set(queue, known + 1);
}
