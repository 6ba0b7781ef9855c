// Small parts that several views have.
import { exactly, moment } from "../format.js";
import { html, useLayoutEffect, useRef } from "../lib.js";

const PATHS = {
  pause: "M5 3v10M11 3v10",
  resume: "M5 3l8 5-8 5z",
  cancel: "M4 4l8 8M12 4l-8 8",
  retry: "M12.5 8a4.5 4.5 0 1 1-1.4-3.3M11.5 2v3h-3",
  delete: "M3 4.5h10M6 4V2.5h4V4M4.5 4.5l.6 9h5.8l.6-9",
  add: "M8 3v10M3 8h10",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

// A moment in the local time zone; a pointer shows which one.
export function Moment({ at, none = "" }) {
  return at ? html`<time datetime=${at} title=${exactly(at)}>${moment(at)}</time>` : none;
}

export function IconButton({ name, label, onClick, disabled = false }) {
  const press = (event) => {
    event.stopPropagation();
    onClick(event);
  };
  return html`<button type="button" class="icon-button" title=${label} aria-label=${label}
    disabled=${disabled} tabindex="-1" onClick=${press}><${Icon} name=${name} /></button>`;
}

export function Bar({ bar, tone, label }) {
  if (bar === null) return html`<span class="bar none"></span>`;
  const isKnown = typeof bar === "number";
  const kind = isKnown ? "" : bar;
  const width = isKnown ? bar : 100;
  return html`<span class="bar ${kind} ${tone}" role="progressbar" aria-label=${label}
    aria-valuemin=${isKnown ? 0 : undefined} aria-valuemax=${isKnown ? 100 : undefined}
    aria-valuenow=${isKnown ? Math.round(bar) : undefined}
    aria-valuetext=${isKnown ? undefined : "unknown"}><span style=${{ width: `${width}%` }}></span></span>`;
}

const SPARK = 30;

// The newest speeds of a download; nothing before there are some.
export function Spark({ speeds }) {
  const values = speeds ? speeds.values.slice(-SPARK) : [];
  if (values.length < 3) return null;
  const top = Math.max(...values, 1);
  const left = (SPARK - values.length) * 2; // the newest is at the right edge
  const points = values.map((value, index) => `${left + index * 2},${(15 - (value / top) * 14).toFixed(1)}`);
  return html`<svg class="spark" viewBox="0 0 ${(SPARK - 1) * 2} 16" aria-hidden="true"
    preserveAspectRatio="none"><polyline points=${points.join(" ")} /></svg>`;
}

// A modal dialog of the browser: it keeps the focus inside, Escape closes it.
export function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    element.current.showModal();
  }, []);
  const closeOnBackdrop = (event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} aria-label=${title} onClose=${onClose} onMouseDown=${closeOnBackdrop}>
    <div class="dialog">
      <header><h2>${title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${onClose}>
          <${Icon} name="cancel" /></button></header>
      ${children}
    </div>
  </dialog>`;
}

export function Problems({ lines }) {
  if (!lines.length) return null;
  return html`<ul class="problems" role="alert">${lines.map((line) => html`<li>${line}</li>`)}</ul>`;
}
