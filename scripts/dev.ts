/**
 * `npm run dev`: makes .dev.vars if there is none and runs `wrangler dev` with the flags it was given. Wrangler
 * and the workerd below it live in a process group of their own, which ends with this process, with a signal to
 * it, and with its parent: wrangler alone leaves workerd behind.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { constants as fileConstants, copyFileSync } from "node:fs";
import { constants as systemConstants } from "node:os";
import path from "node:path";

const PROJECT = path.resolve(import.meta.dirname, "..");
const DEFAULT_PORT = "8787";
const STOP_PATIENCE_MS = 5000;
const PARENT_CHECK_MS = 500;

/** Wrangler works without network; its traces make the coordinator's calls about twenty times slower. */
const ENVIRONMENT_DEFAULTS = {
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
  X_LOCAL_OBSERVABILITY: "false",
};

const flags = process.argv.slice(2);
if (!hasFlag("--env-file")) makeDevVars();
const wrangler = startWrangler();
endWithSignals(wrangler);
endWithParent(wrangler);
process.exitCode = await exitCodeOf(wrangler);
// What a killed wrangler left behind.
signalGroup(wrangler, "SIGKILL");

function makeDevVars(): void {
  const target = path.join(PROJECT, ".dev.vars");
  try {
    copyFileSync(path.join(PROJECT, ".dev.vars.example"), target, fileConstants.COPYFILE_EXCL);
    console.log("Made .dev.vars from .dev.vars.example: the API key is sk-local.");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

function hasFlag(name: string): boolean {
  return flags.some((flag) => flag === name || flag.startsWith(`${name}=`));
}

function startWrangler(): ChildProcess {
  const port = hasFlag("--port") ? [] : ["--port", DEFAULT_PORT];
  const command = path.join(PROJECT, "node_modules/wrangler/bin/wrangler.js");
  return spawn(process.execPath, [command, "dev", ...port, ...flags], {
    cwd: PROJECT,
    env: { ...ENVIRONMENT_DEFAULTS, ...process.env },
    // A session of its own has no terminal to read keys from.
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
}

function endWithSignals(child: ChildProcess): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => stop(child));
  }
}

/** `npm run dev` was killed, or the test that started this: neither says so. */
function endWithParent(child: ChildProcess): void {
  const parent = process.ppid;
  // npm puts a shell between itself and its script, and a killed npm leaves both.
  const npm = process.env["npm_lifecycle_event"] === "dev" ? findParent(parent) : null;
  const timer = setInterval(() => {
    if (process.ppid !== parent || (npm !== null && !isAlive(npm))) stop(child);
  }, PARENT_CHECK_MS);
  timer.unref();
}

/** Null where the system has no `ps`. */
function findParent(pid: number): number | null {
  try {
    return Number(execFileSync("ps", ["-o", "ppid=", "-p", String(pid)], { encoding: "utf8" }));
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process is alive all the same.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function stop(child: ChildProcess): void {
  signalGroup(child, "SIGTERM");
  setTimeout(() => signalGroup(child, "SIGKILL"), STOP_PATIENCE_MS).unref();
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group has ended already.
  }
}

/** Wrangler's own exit code; 128 and the signal's number when a signal ended it, as shells say it. */
function exitCodeOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : systemConstants.signals[signal]));
    });
  });
}
