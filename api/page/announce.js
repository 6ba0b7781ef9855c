// What is said: toasts for what the person did, and a polite live region for what happens by itself.
import { plural } from "./format.js";
import { signal } from "./lib.js";
import { onChanges } from "./store.js";
import { nameOf } from "./words.js";

// Of {id, text, tone, undo}: `undo` is a function or null.
export const toasts = signal([]);
export const spoken = signal("");

const SHOWN_FOR = 6_000;
const SPOKEN_EVERY = 5_000;
let lastId = 0;

export function toast(text, { tone = "info", undo = null, milliseconds = SHOWN_FOR } = {}) {
  lastId += 1;
  const entry = { id: lastId, text, tone, undo };
  toasts.value = [...toasts.value.slice(-3), entry];
  if (tone !== "bad") setTimeout(() => dismiss(entry.id), milliseconds);
  return entry.id;
}

export function dismiss(id) {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

// ── the live region: at most one sentence in some seconds, however much happens ─────────────────

const SPOKEN_STATES = ["completed", "failed"];
let ended = [];
let timer = null;

onChanges((changes, isSnapshot) => {
  if (isSnapshot) return;
  for (const { job, before } of changes) {
    if (before && before !== job.status && SPOKEN_STATES.includes(job.status)) ended.push(job);
  }
  if (ended.length && timer === null) timer = setTimeout(speak, 500);
});

function speak() {
  const sentences = SPOKEN_STATES.map((state) => sentence(ended.filter((job) => job.status === state), state));
  say(sentences.filter(Boolean).join(" "));
  ended = [];
  timer = setTimeout(() => {
    timer = null;
    if (ended.length) speak();
  }, SPOKEN_EVERY);
}

function sentence(found, state) {
  if (!found.length) return "";
  return found.length === 1 ? `${nameOf(found[0])} ${state}.` : `${plural(found.length, "download")} ${state}.`;
}

// The same text twice is no change, which would not be spoken: the second time a space follows it.
export function say(text) {
  spoken.value = text === spoken.peek() ? `${text}\u00a0` : text;
}
