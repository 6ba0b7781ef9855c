// The list of downloads: tabs, search, and the rows that are on the screen.
import { ACTIONS, act, setPriority } from "../actions.js";
import { may } from "../api.js";
import { count, plural } from "../format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { canOrderByEnd, filter, hasMore, loadMore, loading, problem, reload, rows, setFilter, TABS } from "../list.js";
import { dialog, moved } from "../keys.js";
import { chosenRows, clearSelection, current } from "../selection.js";
import { jobs, totals, version } from "../store.js";
import { FINISHED } from "../words.js";
import { Icon } from "./parts.js";
import { Row } from "./row.js";

export function ListView() {
  version.value; // what is selected may leave the list, or change its state
  const chosen = chosenRows();
  return html`<section class="list" aria-label="Downloads">
    <${Tabs} />
    ${chosen.length ? html`<${SelectionBar} chosen=${chosen} />` : html`<${Tools} />`}
    ${problem.value && html`<p class="notice bad" role="alert">${problem.value}
      <button type="button" onClick=${() => reload({ keepRows: true })}>Try again</button></p>`}
    <${Grid} />
  </section>`;
}

function Tabs() {
  const { tab } = filter.value;
  return html`<nav class="tabs" aria-label="States">${Object.entries(TABS).map(
    ([name, { title }]) => html`<button type="button" aria-current=${name === tab ? "page" : undefined}
      onClick=${() => choose(name)}>${title} <span class="count">${numberOf(name)}</span></button>`,
  )}</nav>`;
}

function choose(tab) {
  clearSelection();
  setFilter({ tab });
}

function numberOf(tab) {
  if (!totals.value) return "";
  const { jobs: numbers, at_least: more } = totals.value;
  const states = TABS[tab].states.length ? TABS[tab].states : Object.keys(numbers);
  const sum = states.reduce((all, state) => all + (numbers[state] ?? 0), 0);
  return `${count(sum)}${states.some((state) => more.includes(state)) ? "+" : ""}`;
}

function Tools() {
  const { search, order } = filter.value;
  const timer = useRef(null);
  const onInput = (event) => {
    clearTimeout(timer.current);
    const text = event.target.value.trim();
    timer.current = setTimeout(() => setFilter({ search: text }), 250);
  };
  return html`<div class="tools">
    <input id="search" type="search" aria-label="Search in name and URL" placeholder="Search in name and URL"
      maxlength="200" value=${search} onInput=${onInput} />
    <label>Sort <select value=${order} onChange=${(event) => setFilter({ order: event.target.value })}>
      <option value="newest">newest first</option><option value="oldest">oldest first</option>
      ${canOrderByEnd(filter.value) && html`<option value="ended">last ended first</option>`}</select></label>
    ${may("submit") && html`<button type="button" class="main" onClick=${() => (dialog.value = "add")}>
      <${Icon} name="add" /> Add</button>`}
  </div>`;
}

function SelectionBar({ chosen }) {
  const isMovable = chosen.some((id) => !FINISHED.has(jobs.get(id)?.status));
  const canUse = (name) => chosen.some((id) => ACTIONS[name].states.includes(jobs.get(id)?.status));
  return html`<div class="tools" role="toolbar" aria-label="Selection">
    <b>${plural(chosen.length, "row")} selected</b>
    ${may("control") && Object.entries(ACTIONS).map(([name, { title }]) => html`<button type="button"
      disabled=${!canUse(name)} onClick=${() => act(name, chosen)}>${title}</button>`)}
    ${may("control") && html`<label>Priority <select value="" disabled=${!isMovable} onChange=${(event) => {
      setPriority(chosen, event.target.value);
      event.target.value = "";
    }}><option value="" disabled>…</option><option>high</option><option>normal</option><option>low</option>
    </select></label>`}
    <button type="button" onClick=${clearSelection}>Clear</button>
  </div>`;
}

// ── rows ────────────────────────────────────────────────────────────────────────────────────────

const NARROW = window.matchMedia("(max-width: 760px)");
const EXTRA = 6; // rows above and below what is seen
const AHEAD = 100; // rows before the end at which the next page is read

function rowHeight() {
  return NARROW.matches ? 84 : 46;
}

function Grid() {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600, row: rowHeight() });
  const look = () => {
    const grid = box.current;
    if (grid) setView({ top: grid.scrollTop, height: grid.clientHeight, row: rowHeight() });
  };
  useLayoutEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (moved.value) showCurrent(box.current, view.row);
  }, [moved.value]);
  version.value; // drawn again with each change
  const ids = rows();
  const first = Math.max(0, Math.floor(view.top / view.row) - EXTRA);
  const last = Math.min(ids.length, Math.ceil((view.top + view.height) / view.row) + EXTRA);
  useEffect(() => {
    if (last > ids.length - AHEAD && hasMore() && !loading.value && !problem.value) loadMore();
  });
  return html`<div class="grid" role="grid" aria-label="Downloads" aria-multiselectable="true" tabindex="0"
      ref=${box} onScroll=${look} aria-rowcount=${hasMore() ? -1 : ids.length + 1}
      aria-activedescendant=${current.value ? `row-${current.value}` : undefined}>
    <${Head} />
    <div role="rowgroup" class="rows" style=${{ height: `${ids.length * view.row}px` }}>
      ${ids.slice(first, last).map((id, offset) => html`<${Row} key=${id} job=${jobs.get(id)}
        index=${first + offset} top=${(first + offset) * view.row} />`)}
    </div>
    ${!ids.length && html`<${Empty} />`}
  </div>`;
}

const COLUMNS = ["Name", "State", "Progress", "Speed", "Time left", "Actions"];

function Head() {
  return html`<div role="rowgroup" class="head"><div role="row" aria-rowindex="1" class="row">
    ${COLUMNS.map((title) => html`<span role="columnheader">${title}</span>`)}</div></div>`;
}

function Empty() {
  if (problem.value) return null;
  if (loading.value) return html`<p class="empty" role="row"><span role="gridcell">Loading…</span></p>`;
  const { search, tab } = filter.value;
  const text = search ? `Nothing was found for “${search}”.` : emptyText(tab);
  return html`<p class="empty" role="row"><span role="gridcell">${text}</span></p>`;
}

function emptyText(tab) {
  if (tab !== "all") return `No downloads are ${TABS[tab].title.toLowerCase()}.`;
  if (!may("submit")) return "There are no downloads yet.";
  return html`There are no downloads yet. Press <kbd>a</kbd>, or drop a list of URLs here.`;
}

function showCurrent(box, row) {
  const index = rows().indexOf(current.value);
  if (index < 0) return;
  const top = index * row;
  const head = box.querySelector(".head").offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + row > box.scrollTop + box.clientHeight - head) box.scrollTop = top + row - box.clientHeight + head;
}
