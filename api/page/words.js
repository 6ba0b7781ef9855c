// What each state looks like: the one table from a job to words, tone and bar.
import { REMEDIES } from "./remedies.js";
import { duration, exactly, moment, rate, secondsUntil, size, speedOf } from "./format.js";

// Seconds without a byte after which a download is called stalled; as in the command line.
const STALLED_AFTER = 5;
export const FINISHED = new Set(["completed", "failed", "cancelled"]);
export const RUNNING = new Set(["downloading", "verifying"]);

const WAITING = {
  retry: (job, now) => ({ label: "Retrying", tone: "warn", detail: retryDetail(job, now) }),
  host_slot: (job) => waiting(`for a free slot of ${job.host ?? "its host"}`),
  host_cooldown: (job) => waiting(`until ${job.host ?? "its host"} takes requests again`),
  user_slot: (job) => waiting(`for a free slot of ${job.user_id ?? "its owner"}`),
  total_slot: () => waiting("for a free slot: all downloads have a limit"),
  disk_space: () => ({ label: "Disk full", tone: "bad", detail: "continues when the worker's disk has room" }),
  disk: () => ({ label: "Disk unavailable", tone: "bad", detail: "continues when the worker's disk works again" }),
  part_file: () => waiting("for its part file, which another process has locked"),
  worker_resources: () => waiting("for memory, threads or file descriptors of a worker"),
};

// The code of a running download whose disk does not answer.
const DISK_SILENT = "disk_silent";

const STATES = {
  queued: () => ({ label: "Queued", tone: "idle", detail: "waits for a worker" }),
  downloading: downloadingState,
  verifying: (job) => silentDisk(job) ?? { label: "Verifying", tone: "run", detail: "checks the file before it gets its name" },
  waiting: (job, now) => (WAITING[job.waiting_for] ?? WAITING.retry)(job, now),
  paused: () => ({ label: "Paused", tone: "idle", detail: "until it is resumed" }),
  completed: (job) => ({ label: "Completed", tone: "good", detail: moment(job.finished_at), title: exactly(job.finished_at) }),
  failed: (job) => ({ label: "Failed", tone: "bad", detail: job.reason ?? "" }),
  cancelled: () => ({ label: "Cancelled", tone: "idle", detail: "" }),
};

const PENDING = { pause: "Pausing", cancel: "Cancelling" };

// Returns {label, tone, detail, title (what a pointer shows beside it), bar, percent, amount, speed, eta}; `bar` is 0 to 100, "unknown" or null for none.
export function describe(job, now) {
  const state = STATES[job.status]?.(job, now) ?? { label: job.status, tone: "idle", detail: "" };
  const isRunning = RUNNING.has(job.status);
  if (PENDING[job.control] && !FINISHED.has(job.status)) {
    state.label = PENDING[job.control];
    state.detail = silentDisk(job)?.detail ?? "as soon as its worker has stopped it";
  }
  const receives = job.status === "downloading" && state.label !== "Stalled" && !silentDisk(job);
  const bar = barOf(job, isRunning);
  return {
    title: state.detail,
    ...state,
    bar,
    percent: percentOf(bar),
    amount: amountOf(job),
    speed: receives && job.speed_mbps > 0 ? rate(speedOf(job)) : "",
    eta: receives && job.eta_seconds !== null ? duration(job.eta_seconds) : "",
  };
}

export function nameOf(job) {
  if (job.name) return job.name;
  if (job.path) return job.path.split("/").at(-1);
  const path = (job.url ?? "").split(/[?#]/)[0].replace(/\/+$/, "");
  const last = path.split("/").at(-1);
  try {
    return decodeURIComponent(last) || job.url;
  } catch {
    return last || job.url;
  }
}

function silentDisk(job) {
  if (!RUNNING.has(job.status) || job.error_code !== DISK_SILENT) return null;
  return { label: "Disk does not answer", tone: "bad", detail: job.reason ?? "" };
}

function downloadingState(job) {
  const hangs = silentDisk(job);
  if (hangs) return hangs;
  const silent = secondsStalled(job);
  if (silent) return { label: "Stalled", tone: "warn", detail: `no data for ${duration(silent)}` };
  const detail = job.bytes_total === null ? "its size is unknown" : "";
  return { label: "Downloading", tone: "run", detail };
}

// Both times come from the store's clock.
function secondsStalled(job) {
  if (!job.last_byte_at || !job.updated_at) return 0;
  const silent = (Date.parse(job.updated_at) - Date.parse(job.last_byte_at)) / 1000;
  return silent >= STALLED_AFTER ? silent : 0;
}

function waiting(detail) {
  return { label: "Waiting", tone: "idle", detail };
}

function retryDetail(job, now) {
  const seconds = secondsUntil(job.next_attempt_at, now);
  const when = seconds >= 1 ? `in ${duration(seconds)}` : "at once";
  const attempt = `attempt ${job.attempts} of ${job.max_attempts} failed`;
  return `${when}; ${attempt}${job.reason ? `: ${job.reason}` : ""}`;
}

function barOf(job, isRunning) {
  if (job.status === "completed" || job.status === "cancelled") return null;
  if (isRunning) return job.progress_percent ?? "unknown";
  if (!job.bytes_downloaded) return null;
  return job.progress_percent ?? "unknown-still";
}

// Rounded down: 100 % is what has all bytes.
function percentOf(bar) {
  return typeof bar === "number" && bar > 0 && bar < 100 ? `${Math.floor(bar)} %` : "";
}

function amountOf(job) {
  if (job.bytes_total === null) return job.bytes_downloaded ? size(job.bytes_downloaded) : "";
  if (job.status === "completed") return size(job.bytes_total);
  return `${size(job.bytes_downloaded)} of ${size(job.bytes_total)}`;
}

// What to do about a failed download; "" where the reason says it.
export function remedyOf(job) {
  return job.status === "failed" ? (REMEDIES[job.error_code] ?? "") : "";
}
