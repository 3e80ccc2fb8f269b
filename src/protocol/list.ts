/** A page of OpenAI's lists. Both lists are walked by the id of the last object seen. */

export interface Page<Item> {
  readonly object: "list";
  readonly data: readonly Item[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** @param found up to one object more than `limit`, which tells that there is a further page. */
export function toPage<Item extends { readonly id: string }>(found: readonly Item[], limit: number): Page<Item> {
  const items = found.slice(0, limit);
  return {
    object: "list",
    data: items,
    first_id: items[0]?.id ?? null,
    last_id: items.at(-1)?.id ?? null,
    has_more: found.length > limit,
  };
}
