// Pause, resume, cancel, retry, priority and remove: on one download or on many.
import { dismiss, toast } from "./announce.js";
import { call } from "./api.js";
import { plural } from "./format.js";
import { signal } from "./lib.js";
import { removeRows } from "./list.js";
import { jobs, mergeRead, position, refreshTotals } from "./store.js";
import { FINISHED, nameOf } from "./words.js";

// In which states an action does something.
const UNFINISHED = ["queued", "downloading", "verifying", "waiting"];
export const ACTIONS = {
  pause: { title: "Pause", done: "Paused", states: UNFINISHED },
  resume: { title: "Resume", done: "Resumed", states: ["paused", "waiting"] },
  cancel: { title: "Cancel", done: "Cancelled", states: [...UNFINISHED, "paused"], undo: true },
  retry: { title: "Retry", done: "Queued again", states: ["failed", "cancelled"] },
  delete: { title: "Remove", done: "Removed", states: [...FINISHED], undo: true },
};
const MOST = 1_000;
// Who needs more time for undo sets this in the browser's storage, in seconds.
const UNDO_SETTING = "seen-undo-seconds";
const UNDO_SECONDS = 6;

function undoTime() {
  const chosen = Number.parseFloat(localStorage.getItem(UNDO_SETTING) ?? "");
  return 1000 * (chosen >= 0 ? Math.min(chosen, 3600) : UNDO_SECONDS);
}

// Ids whose cancel or removal is sent when the time for undo is over: id → action.
export const pending = signal(new Map());
const waiting = new Map(); // toast id → {action, ids, timer}

export function fits(action, job) {
  return Boolean(job) && ACTIONS[action].states.includes(job.status) && !pending.value.has(job.id);
}

export function act(action, wanted, extra = {}) {
  const ids = action === "move" ? [...wanted] : wanted.filter((id) => fits(action, jobs.get(id)));
  if (!ids.length) {
    toast(`Nothing here can be ${action === "retry" ? "retried" : "changed so"}.`);
    return undefined;
  }
  return ACTIONS[action]?.undo ? later(action, ids) : send(action, ids, extra);
}

export function setPriority(ids, priority) {
  return act("move", ids, { priority });
}

// ── undo ────────────────────────────────────────────────────────────────────────────────────────
// The request is sent when the time is over, or the page is left: until then nothing has changed.

function later(action, ids) {
  const what = ids.length === 1 ? nameOf(jobs.get(ids[0])) : plural(ids.length, "download");
  const verb = action === "cancel" ? "Cancelling" : "Removing";
  const milliseconds = undoTime();
  const id = toast(`${verb} ${what} in a moment.`, { undo: () => undo(id), milliseconds });
  waiting.set(id, { action, ids, timer: setTimeout(() => finish(id), milliseconds) });
  showPending();
  return id;
}

export function undo(id = [...waiting.keys()].at(-1)) {
  const found = waiting.get(id);
  if (!found) return;
  clearTimeout(found.timer);
  waiting.delete(id);
  dismiss(id);
  showPending();
}

function finish(id, { keepalive = false } = {}) {
  const { action, ids, timer } = waiting.get(id);
  clearTimeout(timer);
  waiting.delete(id);
  send(action, ids, {}, { keepalive }).finally(showPending);
}

window.addEventListener("pagehide", () => {
  for (const id of [...waiting.keys()]) finish(id, { keepalive: true });
});

function showPending() {
  const found = new Map();
  for (const { action, ids } of waiting.values()) for (const id of ids) found.set(id, action);
  pending.value = found;
}

// ── sending ─────────────────────────────────────────────────────────────────────────────────────

async function send(action, ids, extra, options = {}) {
  const since = position();
  try {
    if (ids.length === 1 && action !== "delete") {
      mergeRead([await sendOne(action, ids[0], extra, options)], since);
    } else {
      report(action, await sendMany(action, ids, extra, options), ids);
    }
  } catch (problem) {
    toast(problem.message, { tone: "bad" });
  }
  refreshTotals();
}

function sendOne(action, id, { priority }, options) {
  if (action === "move") return call("PATCH", `/v1/downloads/${id}`, { priority }, options);
  return call("POST", `/v1/downloads/${id}/${action}`, undefined, options);
}

async function sendMany(action, ids, extra, options) {
  const all = { changed: 0, unchanged: 0, refused: [] };
  for (let first = 0; first < ids.length; first += MOST) {
    const body = { action, ids: ids.slice(first, first + MOST), ...extra };
    const result = await call("POST", "/v1/downloads/actions", body, options);
    all.changed += result.changed;
    all.unchanged += result.unchanged;
    all.refused.push(...result.refused);
  }
  return all;
}

function report(action, { changed, refused }, ids) {
  const kept = new Set(refused.map((one) => one.id));
  if (action === "delete") removeRows(ids.filter((id) => !kept.has(id)));
  if (refused.length) {
    toast(`${plural(refused.length, "download")} could not be changed: ${refused[0].detail}`, { tone: "bad" });
  } else {
    toast(`${ACTIONS[action]?.done ?? "Moved"}: ${plural(changed, "download")}.`);
  }
}
