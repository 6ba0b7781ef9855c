// Which rows are selected, and which one the keyboard is at.
import { signal } from "./lib.js";
import { rows } from "./list.js";

export const selected = signal(new Set());
export const current = signal(null);
let anchor = null;

export function selectOnly(id) {
  anchor = id;
  current.value = id;
  selected.value = new Set([id]);
}

export function toggle(id) {
  const next = new Set(selected.value);
  if (!next.delete(id)) next.add(id);
  anchor = id;
  current.value = id;
  selected.value = next;
}

// Selects from the anchor to this row.
export function extendTo(id) {
  const ids = rows();
  const from = Math.max(0, ids.indexOf(anchor ?? current.value));
  const to = ids.indexOf(id);
  current.value = id;
  selected.value = new Set(ids.slice(Math.min(from, to), Math.max(from, to) + 1));
  anchor = ids[from] ?? id;
}

export function selectAll() {
  selected.value = new Set(rows());
}

export function clearSelection() {
  selected.value = new Set();
  anchor = null;
}

// Moves the keyboard's row; returns its id.
export function moveCurrent(step, { extend = false } = {}) {
  const ids = rows();
  if (!ids.length) return null;
  const index = ids.indexOf(current.value);
  const next = index < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, index + step));
  if (extend) {
    anchor ??= current.value;
    extendTo(ids[next]);
  } else {
    current.value = ids[next];
  }
  return ids[next];
}

// The selected rows. Those that the list has no more are left out.
export function chosenRows() {
  return selected.value.size ? rows().filter((id) => selected.value.has(id)) : [];
}

// What an action is for: the selection, else the keyboard's row.
export function targets() {
  const chosen = chosenRows();
  if (chosen.length) return chosen;
  return rows().includes(current.value) ? [current.value] : [];
}
