/**
 * A local stack for a program: `scripts/dev.ts` on a free port, with storage of its own or of the caller's.
 * Its settings are those of .dev.vars.example, whatever stands in .dev.vars.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface LocalStack {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly origin: string;
  readonly apiKey: string;
  /** Where the Worker's inspector listens, for profiles and heap figures. */
  readonly inspectorPort: number;
  /** Of the process that all others of the stack descend from. */
  readonly pid: number;
  /** What wrangler and the Worker have printed so far. */
  readonly log: () => string;
  /** Ends everything that was started and removes its own storage. May be called twice. */
  readonly stop: () => Promise<void>;
}

export interface StackOptions {
  /** Variables of the Worker that replace those of the settings. */
  readonly variables?: Readonly<Record<string, string>>;
  /** A folder that outlives the stack and keeps its state; otherwise it is thrown away at the end. */
  readonly storage?: string;
  /** Called with what the stack prints, as it does. */
  readonly onPrint?: (text: string) => void;
  /** Gives up starting. */
  readonly signal?: AbortSignal;
}

const START_PATIENCE_MS = 60_000;
const POLL_MS = 100;
const LOCAL_API_KEY = "sk-local";

/** @throws Error with the stack's own output when it ends early or does not answer in time. */
export async function startLocalStack(options: StackOptions = {}): Promise<LocalStack> {
  const { variables = {}, onPrint, signal } = options;
  const [port, inspectorPort] = [await findFreePort(), await findFreePort()];
  const storage = options.storage ?? mkdtempSync(path.join(tmpdir(), "nightshift-"));
  const flags = ["--ip", "127.0.0.1", "--port", String(port), "--inspector-port", String(inspectorPort)];
  flags.push("--persist-to", storage, "--env-file", ".dev.vars.example");
  for (const [name, value] of Object.entries(variables)) flags.push("--var", `${name}:${value}`);

  // A group of its own: Ctrl-C in a terminal reaches the caller alone, who then stops this one in order.
  const child = spawn(process.execPath, [path.join(import.meta.dirname, "dev.ts"), ...flags], {
    // Node reads an --env-file wherever it stands among the arguments, and from where it was started.
    cwd: path.resolve(import.meta.dirname, ".."),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const printed: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      printed.push(text);
      onPrint?.(text);
    });
  }

  const stack: LocalStack = {
    origin: `http://127.0.0.1:${port}`,
    apiKey: LOCAL_API_KEY,
    inspectorPort,
    pid: child.pid ?? -1,
    log: () => printed.join(""),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGTERM");
        await ended;
      }
      if (options.storage === undefined) rmSync(storage, { recursive: true, force: true });
    },
  };
  try {
    await waitUntilReady(stack, child, signal);
  } catch (error) {
    await stack.stop();
    throw error;
  }
  return stack;
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return address.port;
}

async function waitUntilReady(stack: LocalStack, child: ChildProcess, signal?: AbortSignal): Promise<void> {
  const deadline = Date.now() + START_PATIENCE_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the local stack ended while it started:\n${stack.log()}`);
    }
    if (await answers(`${stack.origin}/healthz`)) return;
    await delay(POLL_MS, undefined, { signal });
  }
  throw new Error(`the local stack did not answer within ${START_PATIENCE_MS / 1000} s:\n${stack.log()}`);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
