// The speed of a download over time, drawn by uPlot; its code is loaded with the first curve.
import { rate } from "../format.js";
import { html, useEffect, useLayoutEffect, useRef } from "../lib.js";

let library = null;
function load() {
  library ??= import("../vendor/uplot.js").then((module) => module.default);
  return library;
}

const HEIGHT = 160;
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

function optionsFor(element) {
  const axis = { stroke: colour(element, "--muted"), grid: { stroke: colour(element, "--line"), width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, high) * 1.1] } },
    axes: [
      { ...axis, space: 110, size: 28, values: (_plot, values) => values.map((at) => TIME.format(at * 1000)) },
      { ...axis, size: 80, values: (_plot, values) => values.map(rate) },
    ],
    series: [{}, { stroke: colour(element, "--run"), width: 1.5, fill: colour(element, "--run-soft"), points: { show: false } }],
  };
}

export function Curve({ speeds }) {
  const box = useRef(null);
  const plot = useRef(null);
  useLayoutEffect(() => {
    let isGone = false;
    let observer = null;
    const element = box.current;
    load().then((UPlot) => {
      if (isGone) return;
      plot.current = new UPlot(optionsFor(element), dataOf(speeds), element);
      observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
      observer.observe(element);
    });
    return () => {
      isGone = true;
      observer?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.setData(dataOf(speeds)));
  const newest = speeds.values.at(-1);
  return html`<div class="curve" ref=${box} role="img" aria-label=${`Speed over time, now ${rate(newest)}`}></div>`;
}

function dataOf({ times, values }) {
  return [times.slice(), values.slice()];
}
