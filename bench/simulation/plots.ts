/** Draws what a simulation found, as SVG. */
import * as Plot from "@observablehq/plot";
import domino from "domino";
import type { Sample, SimulationResult } from "./simulate.ts";

const WIDTH = 820;
const STYLE = { background: "white", color: "#222", fontSize: "12px" };
const SECONDS_PER_MINUTE = 60;

interface Point {
  readonly minutes: number;
  readonly value: number;
  readonly what: string;
}

const SERIES: readonly (readonly [string, (sample: Sample) => number])[] = [
  ["lines in flight", ({ inFlight }) => inFlight],
  ["messages waiting", ({ queueDepth }) => queueDepth],
  ["batches not final", ({ liveBatches }) => liveBatches],
];

/** What is used of it: the project knows no DOM types. */
interface SvgElement {
  readonly outerHTML: string;
  setAttribute(name: string, value: string): void;
}

/** Lines in flight against the slots there are, the queue, and the batches, over time. */
export function plotTimeline(result: SimulationResult, slots: number, title: string): string {
  const points = SERIES.flatMap(([what, read]) =>
    result.samples.map((sample): Point => ({ minutes: toMinutes(sample.atSeconds), value: read(sample), what })),
  );
  return draw({
    title,
    height: 340,
    x: { label: "minutes", grid: true },
    y: { label: null, grid: true },
    color: { legend: false, domain: SERIES.map(([what]) => what), range: ["#1f6feb", "#d1242f", "#8250df"] },
    marks: [
      Plot.ruleY([slots], { stroke: "#888", strokeDasharray: "4 3" }),
      Plot.text([slots], { y: (value: number) => value, text: () => "slots", frameAnchor: "right", dy: -7 }),
      Plot.lineY(points, { x: "minutes", y: "value", stroke: "what", strokeWidth: 1.6 }),
      Plot.text(namePlaces(points), {
        x: "minutes",
        y: "value",
        text: "what",
        fill: "what",
        textAnchor: "start",
        dx: 6,
      }),
    ],
    marginRight: 140,
  });
}

/** Each batch as a dot: how large it was, and how long it took. */
export function plotSizes(result: SimulationResult, title: string): string {
  const dots = result.outcomes.map(({ order, seconds }) => ({ lines: order.lines, minutes: toMinutes(seconds) }));
  return draw({
    title: `${title}: minutes until completed, by lines`,
    height: 340,
    x: { label: "lines of the batch", type: "log", ticks: 5, tickFormat: ",d", grid: true },
    y: { label: null, grid: true },
    marks: [Plot.dot(dots, { x: "lines", y: "minutes", r: 2, fill: "#1f6feb", fillOpacity: 0.5 })],
  });
}

/** At the right end, one below the other: places for their names. */
function namePlaces(points: readonly Point[]): readonly Point[] {
  const last = Math.max(...points.map(({ minutes }) => minutes));
  return SERIES.map(([what], index) => ({ minutes: last, value: (2 - index) * heightOfName(points), what }));
}

function heightOfName(points: readonly Point[]): number {
  return Math.max(...points.map(({ value }) => value)) / 14;
}

function draw({ title, marks = [], ...options }: Plot.PlotOptions & { readonly title: string }): string {
  const { document } = domino.createWindow("<html><body></body></html>") as unknown as { readonly document: object };
  const drawn: unknown = Plot.plot({
    document,
    width: WIDTH,
    marginTop: 44,
    marginLeft: 50,
    style: STYLE,
    ...options,
    marks: [...marks, Plot.text([title], { frameAnchor: "top-left", dy: -28, fontWeight: "bold", fontSize: 13 })],
  });
  const svg = drawn as SvgElement;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${svg.outerHTML}\n`;
}

function toMinutes(seconds: number): number {
  return seconds / SECONDS_PER_MINUTE;
}
