/** A page of OpenAI's lists. Both lists are walked by the id of the last object seen. */

export interface Page<Item> {
  readonly object: "list";
  readonly data: readonly Item[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** @param hasMore whether the list goes on behind these. */
export function toPage<Item extends { readonly id: string }>(items: readonly Item[], hasMore: boolean): Page<Item> {
  return {
    object: "list",
    data: items,
    first_id: items[0]?.id ?? null,
    last_id: items.at(-1)?.id ?? null,
    has_more: hasMore,
  };
}
