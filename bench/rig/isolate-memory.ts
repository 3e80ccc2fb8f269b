/**
 * Memory of the Worker's own isolate, from its inspector: what the edge limits to 128 MB. The process around it also
 * holds the local simulators of R2, D1 and queues, which the edge does not have.
 */
const SAMPLE_EVERY_MS = 100;

export interface IsolateWatch {
  /** The most heap and buffer bytes since the last call; null when the inspector gave no value. */
  readonly takePeakBytes: () => number | null;
  readonly stop: () => void;
}

/** https://chromedevtools.github.io/devtools-protocol/v8/Runtime/#method-getHeapUsage */
interface HeapUsage {
  readonly usedSize: number;
  readonly backingStorageSize?: number;
}

export async function watchIsolate(inspectorPort: number): Promise<IsolateWatch> {
  // Wrangler's inspector refuses a connection without an Origin header. Node's WebSocket takes headers.
  const options = { headers: { origin: "http://localhost" } } as unknown as string[];
  const socket = new WebSocket(`ws://127.0.0.1:${inspectorPort}/ws`, options);
  let peak: number | null = null;
  socket.addEventListener("message", ({ data }) => {
    const { result } = JSON.parse(String(data)) as { readonly result?: Partial<HeapUsage> };
    if (result?.usedSize === undefined) return;
    peak = Math.max(peak ?? 0, result.usedSize + (result.backingStorageSize ?? 0));
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error("the inspector could not be reached")));
  });
  let id = 0;
  const timer = setInterval(() => {
    id += 1;
    socket.send(JSON.stringify({ id, method: "Runtime.getHeapUsage" }));
  }, SAMPLE_EVERY_MS);
  return {
    takePeakBytes: () => {
      const taken = peak;
      peak = null;
      return taken;
    },
    stop: () => {
      clearInterval(timer);
      socket.close();
    },
  };
}
