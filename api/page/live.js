// The stream of changes: connects, reads events, and connects again by itself.
import { problemOf, session } from "./api.js";
import { signal } from "./lib.js";

// "connecting", "live" or "lost".
export const connection = signal("connecting");
export const lostReason = signal("");

// The service sends at least a comment every 15 s.
const SILENCE = 40_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

// Calls onEvent(name, data) for each event until the signal is aborted or the session is over.
export async function follow(path, onEvent, abort) {
  const state = { lastId: "", pause: FIRST_PAUSE };
  while (!abort.aborted && session.value) {
    try {
      await readOnce(path, onEvent, abort, state);
      lostReason.value = "The service has ended the connection.";
    } catch (problem) {
      lostReason.value = problem.status ? problem.message : "The service does not answer.";
    }
    if (abort.aborted) return;
    connection.value = "lost";
    await sleep(state.pause, abort);
    state.pause = Math.min(LONGEST_PAUSE, state.pause * 2);
  }
}

async function readOnce(path, onEvent, abort, state) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  abort.addEventListener("abort", stop);
  const watchdog = new Watchdog(stop);
  try {
    const headers = state.lastId ? { "Last-Event-ID": state.lastId } : {};
    const answer = await fetch(path, { headers, signal: attempt.signal, cache: "no-store" });
    if (!answer.ok) throw await problemOf(answer);
    connection.value = "live";
    state.pause = FIRST_PAUSE;
    await readEvents(answer.body, watchdog, (id, name, data) => {
      onEvent(name, data);
      state.lastId = id;
    });
  } finally {
    watchdog.stop();
    abort.removeEventListener("abort", stop);
  }
}

class Watchdog {
  constructor(bite) {
    this.bite = bite;
    this.feed();
  }
  feed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.bite, SILENCE);
  }
  stop() {
    clearTimeout(this.timer);
  }
}

// The service writes each field on one line, and an empty line behind each event.
async function readEvents(body, watchdog, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    watchdog.feed();
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) dispatch(part, onEvent);
  }
}

function dispatch(block, onEvent) {
  const fields = { id: "", event: "", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    const name = line.slice(0, colon);
    if (colon > 0 && name in fields) fields[name] = line.slice(colon + 2);
  }
  if (fields.event) onEvent(fields.id, fields.event, JSON.parse(fields.data));
}

// A page that is shown again, or a network that is back, does not wait for the end of the pause.
function sleep(milliseconds, abort) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      abort.removeEventListener("abort", done);
      resolve();
    }
    window.addEventListener("online", done);
    abort.addEventListener("abort", done);
  });
}
