"""All metrics that processes count. docs/operations/monitoring.md says what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.metrics.metric import Kind, Metric
from worker.outcome import Outcome

#: Seconds: of round trips and waits, of transfers, of periodic tasks.
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200)
_TASK = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
#: Bytes: 1 KiB to 64 GiB, in steps of 8.
_SIZES = tuple(float(2**power) for power in range(10, 37, 3))
_GROUPS = (1, 2, 4, 8, 16, 32, 64, 256, 1_000)

# ── workers ─────────────────────────────────────────────────────────────────────────────────────

JOB_RUNS = Metric(
    "seen_job_runs",
    Kind.COUNTER,
    "Jobs of consumed messages, by how their run in a worker ended.",
    {"outcome": tuple(Outcome)},
)
ATTEMPTS = Metric(
    "seen_attempts",
    Kind.COUNTER,
    "Attempts that ended, by the state in which they left their job, and why.",
    {"state": None, "reason": None},
)
TRANSFER_DURATION = Metric(
    "seen_transfer_duration_seconds",
    Kind.HISTOGRAM,
    "Time from the slots of a transfer to its last byte, verified; of those that got there.",
    buckets=_LONG,
)
TRANSFER_SIZE = Metric(
    "seen_transfer_size_bytes",
    Kind.HISTOGRAM,
    "Size of the files of these transfers.",
    buckets=_SIZES,
)
RECEIVED_BYTES = Metric(
    "seen_received_bytes",
    Kind.COUNTER,
    "Bytes that workers received from origins and wrote, also those that were discarded later.",
)
TRANSFER_RETRIES = Metric(
    "seen_transfer_retries",
    Kind.COUNTER,
    "Requests that transfers sent once more after an error, within their attempt.",
    {"reason": None},
)
LOCK_WAIT = Metric(
    "seen_lock_wait_seconds",
    Kind.HISTOGRAM,
    "Time until the store answered whether a worker gets the lock of a job.",
    buckets=_SHORT,
)
SLOT_WAIT = Metric(
    "seen_slot_wait_seconds",
    Kind.HISTOGRAM,
    "Time that a job waited in a worker for its slot, or for the slots of its host and user.",
    {"slot": ("worker", "host")},
    _SHORT,
)
BATCH_DURATION = Metric(
    "seen_batch_duration_seconds",
    Kind.HISTOGRAM,
    "Time of one transaction, or of one pipeline, for all jobs of a worker that wait for it.",
    {"server": ("database", "store", "broker")},
    _SHORT,
)
BATCH_SIZE = Metric(
    "seen_batch_size",
    Kind.HISTOGRAM,
    "Operations or flows in one batch.",
    {"server": ("database", "store", "broker")},
    _GROUPS,
)
LOOP_LAG = Metric(
    "seen_event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How much later than due an event loop ran a timer, measured once a second.",
    {"process": ("worker", "api")},
    _SHORT,
)
SLOTS = Metric("seen_slots", Kind.SUM, "Downloads that all workers may run at once.")
SLOTS_USED = Metric("seen_slots_used", Kind.SUM, "Slots of workers in which a download runs.")
JOBS_IN_HAND = Metric(
    "seen_jobs_in_hand", Kind.SUM, "Jobs that run in workers, or wait in one for a slot."
)
PROCESSES = Metric(
    "seen_processes",
    Kind.SUM,
    "Processes that publish metrics.",
    {"process": ("worker", "api")},
)

# ── periodic tasks, webhooks ────────────────────────────────────────────────────────────────────

TASK_RUNS = Metric(
    "seen_task_runs",
    Kind.COUNTER,
    "Runs of periodic tasks; one is skipped while another process runs it.",
    {"task": None, "result": ("ok", "failed", "skipped")},
)
TASK_DURATION = Metric(
    "seen_task_duration_seconds",
    Kind.HISTOGRAM,
    "Time of these runs, without those that were skipped.",
    {"task": None},
    _TASK,
)
TASK_LAST_SUCCESS = Metric(
    "seen_task_last_success_timestamp_seconds",
    Kind.LATEST,
    "When a periodic task ended without an error, by the store's clock.",
    {"task": None},
)
WEBHOOK_ATTEMPTS = Metric(
    "seen_webhook_attempts",
    Kind.COUNTER,
    "Attempts at deliveries: delivered, failed and to be repeated, or given up.",
    {"result": ("delivered", "failed", "given_up")},
)
WEBHOOK_DURATION = Metric(
    "seen_webhook_attempt_duration_seconds",
    Kind.HISTOGRAM,
    "Time of the requests, and of the runs of the program of SEEN_ON_END.",
    buckets=_SHORT,
)

# ── the API ─────────────────────────────────────────────────────────────────────────────────────

HTTP_REQUESTS = Metric(
    "seen_http_requests",
    Kind.COUNTER,
    "Requests that the API answered, by the template of their route.",
    {"route": None, "method": None, "status": ("1xx", "2xx", "3xx", "4xx", "5xx")},
)
HTTP_DURATION = Metric(
    "seen_http_request_duration_seconds",
    Kind.HISTOGRAM,
    "Time until a response starts.",
    {"route": None, "method": None},
    _SHORT,
)
HTTP_IN_FLIGHT = Metric(
    "seen_http_requests_in_flight", Kind.SUM, "Requests that the API serves, also event streams."
)
WATCHERS = Metric("seen_event_watchers", Kind.SUM, "Open event streams.")
WATCHERS_DROPPED = Metric(
    "seen_event_watchers_dropped",
    Kind.COUNTER,
    "Event streams that the API ended, because their client read too slowly.",
)
SIGN_IN_FAILURES = Metric(
    "seen_sign_in_failures", Kind.COUNTER, "Keys, sessions and sign-in links that were refused."
)
RATE_LIMITED = Metric(
    "seen_rate_limited_requests",
    Kind.COUNTER,
    "Requests that were answered with 429, by the limit: of requests of a user, of failed sign-ins of "
    "an address, of event streams.",
    {"limit": ("requests", "sign_in", "streams")},
)

#: By name.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {one.name: one for one in list(globals().values()) if isinstance(one, Metric)}
)
