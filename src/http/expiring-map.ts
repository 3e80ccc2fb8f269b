/** Remembers for a while, in this isolate. When it is full, the oldest entry is forgotten. No I/O. */
export class ExpiringMap<Value> {
  readonly #maxEntries: number;
  readonly #entries = new Map<string, { readonly value: Value; readonly until: number }>();

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  get(key: string, now: Date): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > now.getTime()) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: Value, until: Date): void {
    this.#entries.delete(key);
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= this.#maxEntries) this.#entries.delete(oldest);
    this.#entries.set(key, { value, until: until.getTime() });
  }
}
