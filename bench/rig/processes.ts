/** Memory and CPU time of the workerd processes below a stack, from /proc. Linux only: elsewhere they are unknown. */
import { readdirSync, readFileSync } from "node:fs";

const SAMPLE_EVERY_MS = 50;
const PAGE_BYTES = 4096;
/** proc(5): ticks of 1/100 s on every Linux that Node runs on. */
const TICK_MS = 10;

export interface ProcessWatch {
  /** Resident memory now. */
  readonly bytes: () => number | null;
  /** The most resident memory since the last call. */
  readonly takePeakBytes: () => number | null;
  /** CPU time since their start. */
  readonly cpuMs: () => number | null;
  readonly stop: () => void;
}

/** @param pid of the process that the stack's others descend from. */
export function watchProcesses(pid: number): ProcessWatch {
  let workerds = findWorkerds(pid);
  let peak = 0;
  const sumOf = (readOne: (pid: number) => number) => {
    // Wrangler replaces its workerd when it builds the Worker anew, which it may do just after its start.
    if (workerds.some((one) => readName(one) !== "workerd")) workerds = findWorkerds(pid);
    return workerds.length === 0 ? null : workerds.reduce((sum, one) => sum + readOne(one), 0);
  };
  const sample = () => {
    peak = Math.max(peak, sumOf(readResidentBytes) ?? 0);
  };
  const timer = setInterval(sample, SAMPLE_EVERY_MS);
  return {
    bytes: () => sumOf(readResidentBytes),
    takePeakBytes: () => {
      sample();
      const taken = peak;
      peak = 0;
      return workerds.length === 0 ? null : taken;
    },
    cpuMs: () => sumOf(readCpuMs),
    stop: () => clearInterval(timer),
  };
}

function findWorkerds(pid: number): readonly number[] {
  return findDescendants(pid).filter((one) => readName(one) === "workerd");
}

function findDescendants(pid: number): readonly number[] {
  const parents = new Map(listProcesses().map((one) => [one, readParent(one)]));
  const found = new Set([pid]);
  for (let before = 0; before !== found.size;) {
    before = found.size;
    for (const [one, parent] of parents) if (parent !== null && found.has(parent)) found.add(one);
  }
  return [...found];
}

function listProcesses(): readonly number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function readParent(pid: number): number | null {
  const parent = /^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1];
  return parent === undefined ? null : Number(parent);
}

function readName(pid: number): string {
  return read(`/proc/${pid}/comm`).trim();
}

/** proc(5), statm: the second number is resident pages. */
function readResidentBytes(pid: number): number {
  return Number(read(`/proc/${pid}/statm`).split(" ")[1] ?? 0) * PAGE_BYTES;
}

/** proc(5), stat: behind the name in brackets, the 12th and 13th field are user and system time. */
function readCpuMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

/** Empty for a process that has ended. */
function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
