// The keys of the page: one table, which the help shows and the handler follows.
import { act, setPriority, undo } from "./actions.js";
import { may } from "./api.js";
import { signal } from "./lib.js";
import { clearSelection, current, moveCurrent, selectAll, targets, toggle } from "./selection.js";

// Which dialog is open: "", "add", "help" or "limits".
export const dialog = signal("");
// The list scrolls the keyboard's row into view when this rises.
export const moved = signal(0);

const PAGE = 10;
const control = (run) => () => may("control") && run();

// [keys, what the help says, what happens, whether it is for the list only]
export const KEYS = [
  [["?"], "show these keys", () => (dialog.value = "help")],
  [["a"], "add downloads", () => may("submit") && (dialog.value = "add")],
  [["/"], "search", focusSearch],
  [["j", "ArrowDown"], "next row", () => move(1), "list"],
  [["k", "ArrowUp"], "previous row", () => move(-1), "list"],
  [["Shift+ArrowDown", "J"], "select downwards", () => move(1, { extend: true }), "list"],
  [["Shift+ArrowUp", "K"], "select upwards", () => move(-1, { extend: true }), "list"],
  [["PageDown"], "ten rows down", () => move(PAGE), "list"],
  [["PageUp"], "ten rows up", () => move(-PAGE), "list"],
  [["Home"], "first row", () => move(-Infinity), "list"],
  [["End"], "last row that is loaded", () => move(Infinity), "list"],
  [["Space", "x"], "select the row, or not", () => current.value && toggle(current.value), "list"],
  [["Ctrl+a"], "select all rows that are loaded", selectAll, "list"],
  [["Enter"], "open the download", open, "list"],
  [["p"], "pause", control(() => act("pause", targets())), "list"],
  [["r"], "resume", control(() => act("resume", targets())), "list"],
  [["c", "Delete"], "cancel", control(() => act("cancel", targets())), "list"],
  [["t"], "retry", control(() => act("retry", targets())), "list"],
  [["d"], "remove finished ones from the list", control(() => act("delete", targets())), "list"],
  [["+"], "high priority", control(() => setPriority(targets(), "high")), "list"],
  [["="], "normal priority", control(() => setPriority(targets(), "normal")), "list"],
  [["-"], "low priority", control(() => setPriority(targets(), "low")), "list"],
  [["u"], "undo a cancel or a removal", () => undo()],
  [["g"], "go to the list", () => (location.hash = "#/")],
  [["Escape"], "clear the selection, close a dialog", clearSelection],
];

function move(step, options) {
  moveCurrent(step, options);
  moved.value += 1;
}

function open() {
  if (current.value) location.hash = `#/job/${current.value}`;
}

function focusSearch() {
  const field = document.getElementById("search");
  field?.focus();
  field?.select();
}

function nameOfKey(event) {
  const key = event.key === " " ? "Space" : event.key;
  const shift = event.shiftKey && key.length > 1 ? "Shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shift}${key}`;
}

const WRITES = new Set(["INPUT", "TEXTAREA", "SELECT"]);
const PRESSES = new Set(["Enter", "Space"]);

// Keys are for the page unless a field, a dialog, or a button that they would press has the focus.
export function handleKey(event, isList) {
  if (dialog.value || event.altKey || event.defaultPrevented) return;
  const { tagName } = event.target;
  if (WRITES.has(tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const name = nameOfKey(event);
  if (PRESSES.has(name) && ["BUTTON", "A", "SUMMARY"].includes(tagName)) return;
  const found = KEYS.find(([keys, , , where]) => keys.includes(name) && (!where || isList));
  if (!found) return;
  event.preventDefault();
  found[2]();
}
