// What the page knows: jobs by id, totals, and the speeds that it has seen.
import { call } from "./api.js";
import { follow } from "./live.js";
import { signal } from "./lib.js";
import { speedOf } from "./format.js";
import { FINISHED, RUNNING } from "./words.js";

export const jobs = new Map();
// Rises with each change of any job: who reads it is drawn again.
export const version = signal(0);
export const totals = signal(null);
export const now = signal(Date.now());

const listeners = new Set();
// Called with (changes, isSnapshot): changes are [{job, before}], `before` its former state or null.
export function onChanges(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Jobs that are kept although they have finished and no list shows them: ids.
export const kept = new Set();

// The number of the newest event of the stream.
let sequence = 0;
export function position() {
  return sequence;
}

// Takes answers to a request that was sent at this position: what the stream has sent since is newer.
export function mergeRead(read, since) {
  merge(read.filter((job) => !(jobs.get(job.id)?.sequence > since)));
}

// Takes jobs, or parts of known ones.
function merge(parts, { isSnapshot = false, number = 0 } = {}) {
  const changes = [];
  for (const part of parts) {
    const known = jobs.get(part.id);
    if (!known && part.url === undefined) continue; // a part of a job that no list has shown
    const job = { ...known, ...part, sequence: number };
    jobs.set(job.id, job);
    changes.push({ job, before: known ? known.status : null });
  }
  noteSpeeds(changes);
  version.value += 1;
  for (const listener of listeners) listener(changes, isSnapshot);
}

export function forget(ids) {
  for (const id of ids) {
    jobs.delete(id);
    speeds.delete(id);
  }
  version.value += 1;
}

// ── speeds ──────────────────────────────────────────────────────────────────────────────────────

const MOST_SPEEDS = 1_000;
const SAMPLES = 900;
const SAMPLE_EVERY = 1_000;
// By id: {times, values}, in seconds since 1970 and bytes a second.
const speeds = new Map();

export function speedsOf(id) {
  return speeds.get(id);
}

function noteSpeeds(changes) {
  const at = Date.now();
  for (const { job } of changes) {
    if (RUNNING.has(job.status)) noteSpeed(job, at);
    else if (FINISHED.has(job.status) && !kept.has(job.id)) speeds.delete(job.id);
  }
}

function noteSpeed(job, at) {
  let found = speeds.get(job.id);
  if (!found) {
    if (speeds.size >= MOST_SPEEDS) return;
    found = { times: [], values: [] };
    speeds.set(job.id, found);
  }
  if (at - (found.times.at(-1) ?? 0) * 1000 < SAMPLE_EVERY) return;
  found.times.push(at / 1000);
  found.values.push(speedOf(job));
  if (found.times.length > SAMPLES) {
    found.times.shift();
    found.values.shift();
  }
}

// ── following ───────────────────────────────────────────────────────────────────────────────────

let following = null;
let totalsAreOld = true;
const TOTALS_EVERY = 3_000;

export function start() {
  stop();
  following = new AbortController();
  follow("/v1/events?limit=200", onEvent, following.signal);
  const timer = setInterval(tick, 1_000);
  following.signal.addEventListener("abort", () => clearInterval(timer));
  totalsAreOld = true;
  tick();
}

export function stop() {
  following?.abort();
  following = null;
  jobs.clear();
  speeds.clear();
  totals.value = null;
}

function onEvent(name, data) {
  totalsAreOld = true;
  sequence += 1;
  if (data.removed?.length) forget(data.removed);
  merge(data.downloads, { isSnapshot: name === "snapshot", number: sequence });
}

let readAt = 0;
async function tick() {
  if (document.hidden) return;
  now.value = Date.now();
  if (!totalsAreOld || Date.now() - readAt < TOTALS_EVERY) return;
  readAt = Date.now();
  totalsAreOld = false;
  try {
    totals.value = await call("GET", "/v1/totals");
  } catch {
    totalsAreOld = true;
  }
}

export function refreshTotals() {
  totalsAreOld = true;
}
