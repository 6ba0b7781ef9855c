// The list on the screen: a filter, the ids that fit it, page by page, kept right by the changes.
import { call } from "./api.js";
import { signal } from "./lib.js";
import { forget, jobs, kept, mergeRead, onChanges, position as streamPosition, version } from "./store.js";
import { FINISHED, nameOf } from "./words.js";

export const TABS = {
  all: { title: "All", states: [] },
  active: { title: "Active", states: ["downloading", "verifying", "waiting"] },
  queued: { title: "Queued", states: ["queued"] },
  paused: { title: "Paused", states: ["paused"] },
  completed: { title: "Completed", states: ["completed"] },
  failed: { title: "Failed", states: ["failed"] },
  cancelled: { title: "Cancelled", states: ["cancelled"] },
};
const PAGE = 200;
// A page of a search may be empty and not the last; so many are read at once.
const MOST_EMPTY = 20;

export const filter = signal({ tab: "all", search: "", order: "newest" });
export const loading = signal(false);
export const problem = signal("");
// In the order of the list. Ids are in the order of submission.
let ids = [];
let cursor = null;
let isComplete = false;
let generation = 0;

export function rows() {
  return ids;
}

export function hasMore() {
  return !isComplete;
}

export function setFilter(changes) {
  const wanted = { ...filter.value, ...changes };
  if (wanted.order === "ended" && !canOrderByEnd(wanted)) wanted.order = "newest";
  filter.value = wanted;
  reload();
}

// The service orders finished downloads by their end, where nothing is searched for.
export function canOrderByEnd({ tab, search }) {
  const { states } = TABS[tab];
  return !search && states.length > 0 && states.every((state) => FINISHED.has(state));
}

// Reads the first page again; until it is there, the former rows stay where the filter is the same.
export async function reload({ keepRows = false } = {}) {
  generation += 1;
  problem.value = "";
  cursor = null;
  isComplete = false;
  loading.value = false;
  if (!keepRows) {
    dropRows([]);
    version.value += 1;
  }
  await loadMore({ replace: true });
}

export async function loadMore({ replace = false } = {}) {
  if (loading.value || isComplete) return;
  const mine = generation;
  loading.value = true;
  try {
    const since = streamPosition();
    const found = await readPages(mine);
    if (mine !== generation) return;
    mergeRead(found, since);
    if (replace) dropRows(found.map((job) => job.id));
    append(found);
    problem.value = "";
  } catch (error) {
    if (mine === generation) giveUpOrRepeat(error, replace);
  } finally {
    if (mine === generation) loading.value = false;
  }
}

const REPEAT_AFTER = 3_000;

// What is temporary is repeated until it succeeds or another list is wanted.
function giveUpOrRepeat(error, replace) {
  const mine = generation;
  problem.value = error.message;
  if (error.status && error.status < 500 && error.status !== 429) return;
  setTimeout(() => mine === generation && loadMore({ replace }), REPEAT_AFTER);
}

async function readPages(mine) {
  const found = [];
  for (let number = 0; number < MOST_EMPTY && !found.length && mine === generation; number += 1) {
    const page = await call("GET", `/v1/downloads?${query()}`);
    if (mine !== generation) break;
    found.push(...page.downloads);
    cursor = page.next_cursor;
    isComplete = cursor === null;
    if (isComplete) break;
  }
  return found;
}

function query() {
  const { tab, search, order } = filter.value;
  const wanted = new URLSearchParams({ sort: order, limit: PAGE });
  for (const state of TABS[tab].states) wanted.append("state", state);
  if (search) wanted.set("search", search);
  if (cursor) wanted.set("cursor", cursor);
  return wanted;
}

function append(found) {
  for (const { id } of found) place(jobs.get(id), true);
  version.value += 1;
}

// Forgets finished jobs that are in the list no more.
function dropRows(next) {
  const stays = new Set([...next, ...kept]);
  const gone = ids.filter((id) => !stays.has(id) && FINISHED.has(jobs.get(id)?.status));
  ids = next.filter((id) => jobs.has(id)).sort((a, b) => (comesBefore(a, b) ? -1 : 1));
  forget(gone);
}

// ── changes ─────────────────────────────────────────────────────────────────────────────────────

onChanges((changes, isSnapshot) => {
  if (isSnapshot) {
    reload({ keepRows: true });
    return;
  }
  for (const { job } of changes) place(job, false);
});

export function removeRows(gone) {
  const wanted = new Set(gone);
  ids = ids.filter((id) => !wanted.has(id));
  forget(gone);
}

// Puts a job where it belongs, or takes it out. Of a page that was read, its place is loaded by now.
function place(job, isRead) {
  let index = position(job.id);
  if (ids[index] !== job.id && filter.value.order === "ended") {
    takeOut(job.id); // its end may be another one than before
    index = position(job.id);
  }
  const isThere = ids[index] === job.id;
  const belongs = fits(job);
  if (belongs && !isThere && (isRead || isInLoadedPart(job.id))) ids.splice(index, 0, job.id);
  if (!belongs && isThere) ids.splice(index, 1);
  const isShown = ids[index] === job.id;
  if (!isShown && FINISHED.has(job.status) && !kept.has(job.id) && !loading.value) jobs.delete(job.id);
}

function takeOut(id) {
  const former = ids.indexOf(id);
  if (former >= 0) ids.splice(former, 1);
}

function isInLoadedPart(id) {
  return isComplete || (ids.length > 0 && comesBefore(id, ids.at(-1)));
}

function comesBefore(left, right) {
  const { order } = filter.value;
  if (order === "oldest") return left < right;
  const difference = order === "ended" ? endOf(left) - endOf(right) : 0;
  return difference ? difference > 0 : left > right;
}

function endOf(id) {
  return Date.parse(jobs.get(id)?.finished_at ?? "") || 0;
}

function position(id) {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (comesBefore(ids[middle], id)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function fits(job) {
  const { tab, search } = filter.value;
  const { states } = TABS[tab];
  if (states.length && !states.includes(job.status)) return false;
  const text = search.toLowerCase();
  return !text || job.url.toLowerCase().includes(text) || nameOf(job).toLowerCase().includes(text);
}
