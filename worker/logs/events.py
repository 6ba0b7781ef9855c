"""The stable names of what the service logs, and of the values in each message.

Messages are sentences for people and may be worded otherwise in the next release; programs use these
names. A log call needs nothing but its text: the text finds its line here. A call whose text says too
little gives its name itself: ``extra={"event": …}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The event of records that other libraries log, and of lines that programs print.
LIBRARY, OUTPUT = "library", "output"

#: From the text of a log call to the event, and to the names of its arguments in their order. An event
#: may contain a name in braces, whose value is one of a few. A name of "" is not logged by itself.
EVENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # ── downloads ───────────────────────────────────────────────────────────────────────────
        "Job %s is %s%s": ("download.{status}", "job_id", "status", ""),
        "Job %s is claimed, for the %d. time": ("download.claimed", "job_id", "fence"),
        "Job %s: %s": ("download.note", "job_id", "note"),
        "Job %s was not started: %s": ("download.not_started", "job_id", "error"),
        "Job %s: its state could not be saved yet: %s": ("download.unsaved", "job_id", "error"),
        "Job %s waits for the database: %s": ("download.waits_for_database", "job_id", "error"),
        "Job %s met an unexpected error": ("download.internal_error", "job_id"),
        "Job %s may have a newer claim; this worker stops working on it": (
            "download.fenced",
            "job_id",
        ),
        "Job %s used up its %d attempts": ("download.attempts_used_up", "job_id", "attempts"),
        "Job %s: an event is not saved: %s": ("download.event_unsaved", "job_id", "error"),
        "Job %s: its part file is removed later: %s": ("files.kept", "job_id", "error"),
        "Job %s: saving %s, which only the store has": (
            "download.saved_from_store",
            "job_id",
            "status",
        ),
        "A message names job %s, which is not in the database": ("download.unknown", "job_id"),
        "The lock %s is lost: the store no longer has it": ("lock.lost", "lock"),
        "The last state of job %s is not in the store: %s": (
            "progress.unsaved",
            "job_id",
            "error",
        ),
        "The progress hash of job %s keeps its long TTL: %s": (
            "progress.keeps_ttl",
            "job_id",
            "error",
        ),
        # ── calls of aria2's clients ────────────────────────────────────────────────────────────
        "The call of %s failed": ("rpc.internal_error", "method"),
        "The call of %s was not done: %s": ("rpc.unavailable", "method", "error"),
        # ── transfers ───────────────────────────────────────────────────────────────────────────
        "Job %s closes a slow connection": ("transfer.slow_connection", "job_id"),
        "Job %s continues over one connection: %s": (
            "transfer.one_connection",
            "job_id",
            "reason",
        ),
        "Job %s repeats a request with %s: %s": (
            "transfer.request_repeated",
            "job_id",
            "adaptation",
            "error",
        ),
        "Job %s tries again in %.1f s: %s": ("transfer.retry", "job_id", "seconds", "error"),
        "Job %s gets no further connections: %s": (
            "transfer.no_further_connections",
            "job_id",
            "error",
        ),
        "The last bytes of job %s have no checkpoint: %s": (
            "transfer.no_checkpoint",
            "job_id",
            "error",
        ),
        "The last bytes of job %s are not written: %s": (
            "transfer.unwritten",
            "job_id",
            "error",
        ),
        "The bytes of job %s are kept: %s": ("transfer.bytes_kept", "job_id", "error"),
        "The slots of job %s expire by themselves: %s": ("slots.unreleased", "job_id", "error"),
        "%d downloads are counted at the next renewal: %s": ("slots.uncounted", "count", "error"),
        "Job %s loses its place in a line: %s": ("slots.place_lost", "job_id", "error"),
        "The place of job %s in a line lapses: %s": ("slots.unreleased", "job_id", "error"),
        "The cooldown of %s holds for this job only: %s": ("cooldown.unsaved", "host", "error"),
        "Jobs that wait for a slot are not requeued yet: %s": ("slots.not_passed_on", "error"),
        "The demands of this process expire by themselves: %s": ("rates.unreleased", "error"),
        "Rates of transfers could not be set; trying again": ("rates.failed",),
        # ── files ───────────────────────────────────────────────────────────────────────────────
        "The files of job %s are removed later: %s": ("files.kept", "job_id", "error"),
        "The part file of job %s is kept for now: %s": ("files.kept", "job_id", "error"),
        "The part files of %d jobs are not removed yet: %s": ("files.kept", "jobs", "error"),
        "An optional operation on %s is not supported: %s": ("disk.unsupported", "file", "error"),
        "The file system has no fsync: %s": ("disk.no_fsync", "error"),
        "Could not fsync the folder %s: %s": ("disk.folder_not_synced", "folder", "error"),
        "The file system refuses the name %r: %s": ("disk.name_refused", "name", "error"),
        "The sweep waits: the disk has not answered for %.0f s: %s": (
            "disk.silent",
            "seconds",
            "folder",
        ),
        "Swept the disk: removed the part files of %d finished and %d unknown jobs, reset the "
        "progress of %d jobs whose part file is gone": (
            "disk.swept",
            "finished",
            "unknown",
            "reset",
        ),
        # ── messages, the broker ────────────────────────────────────────────────────────────────
        "%d jobs get another message: %s": ("message.not_put_back", "jobs", "error"),
        "A job's message was consumed, which is not saved: %s": ("message.unsaved", "error"),
        "published_at of %d jobs is not saved: %s": ("message.unsaved", "jobs", "error"),
        "A message of %s could not be put back: %s": ("message.not_put_back", "", "error"),
        "Refused a message of %s: %s. `seen dead-letters list` shows it: %s": (
            "message.refused",
            "queue",
            "reason",
            "",
        ),
        "The dead-letter list could not be written: %s": ("message.no_dead_letter", "error"),
        "Jobs of message %s could not be started": ("message.not_started", "message_id"),
        "The end of task %s could not be sent as an event": ("message.event_failed", "message_id"),
        "The key %s of the broker holds a %s where a queue's list is expected: it is left out until "
        "it is renamed or deleted; the other queues go on": ("broker.wrong_type", "key", "type"),
        "The key %s of the broker holds no table of bindings: delete or rename it": (
            "broker.wrong_type",
            "key",
        ),
        "The reply to BRPOP is awaited: %s": ("broker.reply_awaited", "error"),
        "%s This worker takes no messages; it tries again at least every %g s": (
            "broker.refuses",
            "reason",
            "seconds",
        ),
        "%s, after %.0f s": ("broker.recovered", "reason", "seconds"),
        "Swept the broker: %s": ("broker.swept", "result"),
        "The last metrics of this process are not published: %s": (
            "metrics.unpublished",
            "error",
        ),
        # ── outages ─────────────────────────────────────────────────────────────────────────────
        "%s: %s. Repeated failures are not logged": ("outage.started", "what", "error"),
        "%s: that is over, after %d failures in %.0f s": (
            "outage.ended",
            "what",
            "failures",
            "seconds",
        ),
        "The store at %s does not answer. Until it does, reads of cached values are misses, writes "
        "of them are dropped, and a rate limit allows or refuses as its `fail` says.": (
            "store.unavailable",
            "address",
        ),
        "The store at %s answers again.": ("store.available", "address"),
        "Events wait for the database: %s": ("events.wait_for_database", "error"),
        "The collector of traces takes no spans; they are lost: %s": ("tracing.failed", "reason"),
        "The collector of traces takes spans again": ("tracing.recovered",),
        # ── processes ───────────────────────────────────────────────────────────────────────────
        "No thread could be started; %d threads run": ("process.no_thread", "threads"),
        "This worker lacks resources: it runs at most %d downloads for now": (
            "process.concurrency_reduced",
            "downloads",
        ),
        "%d downloads at once may need %d file descriptors, and this process may have %d: it runs %d "
        "at once. Raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)": (
            "process.few_descriptors",
            "downloads",
            "required",
            "limit",
            "reduced_to",
        ),
        "%s: this worker exits at once. %s did not stop in time; downloads among them are requeued "
        "when their locks have expired": ("process.forced_exit", "reason", "unfinished"),
        "%s failed; it is called again as usual": ("process.periodic_failure", "what"),
        "The process ends by an error": ("process.uncaught_error",),
        "The thread %s ends by an error": ("process.uncaught_error", "failed_thread"),
        "Using %s": ("process.uses_stack", "stack"),
        "%s is now called %s; %s. Rename it.": ("settings.former_name", "former", "present", ""),
        "Beat has not ticked for %.0f s (%s). Until it does, waiting jobs and jobs of dead workers "
        "are not requeued, and progress is not saved. Start one: seen beat": (
            "beat.missing",
            "seconds",
            "last",
        ),
        "Beat ticks again, on %s": ("beat.ticks", "process"),
        "Sending due task %s (%s)": ("beat.sends", "entry", "task"),
        # ── periodic tasks ──────────────────────────────────────────────────────────────────────
        "%s is held by another process; this run is skipped": ("task.skipped", "lock"),
        "Reconciled: %s": ("task.reconciled", "result"),
        "%d jobs had times in the future: the clock of a worker is fast, or this one is slow": (
            "task.clocks_differ",
            "jobs",
        ),
        "Cleaned up: %d stale, %d index entries without progress": (
            "task.cleaned_up",
            "stale",
            "index_entries",
        ),
        "Deleted jobs that finished more than %d days ago: %s": ("task.purged", "days", "result"),
        "Progress of deleted jobs stays in the store until it expires: %s": (
            "task.progress_kept",
            "error",
        ),
        "The requests for %d jobs reach their workers when the store is back: %s": (
            "control.delayed",
            "jobs",
            "error",
        ),
        # ── the cache ───────────────────────────────────────────────────────────────────────────
        "Cache: %s": ("cache.statistics", "result"),
        "%s could not be renewed, trying again: %s": ("lock.not_renewed", "lock", "error"),
        "%s was not released and expires by itself: %s": ("lock.unreleased", "lock", "error"),
        "%s was not cached: reading its titles failed: %s": ("cache.not_cached", "key", "error"),
        "The loaded value of %s was not cached: %s": ("cache.not_cached", "key", "error"),
        "%s could not be refreshed, its old value is served: %s": (
            "cache.not_refreshed",
            "key",
            "error",
        ),
        "The value of %s does not fit %s and was deleted: %s": (
            "cache.value_deleted",
            "key",
            "type",
            "error",
        ),
        "%s could not be deleted: the store does not answer": ("cache.not_deleted", "key"),
        "The server does not support CLIENT TRACKING; the client-side cache is off: %s": (
            "cache.no_tracking",
            "error",
        ),
        # ── accounts ────────────────────────────────────────────────────────────────────────────
        "A sign-in from %s failed: %s": ("sign_in.failed", "client", "reason"),
        "Further failed sign-ins from %s are refused for a while, unlogged": (
            "sign_in.limited",
            "client",
        ),
        "User %s has signed in: session %s": ("sign_in.succeeded", "user", "session"),
        "User %s was signed out everywhere": ("sign_in.all_ended", "user"),
        "A sign-in link for user %s was made": ("sign_in.link_made", "user"),
        "Ended sessions stay in the store until they expire: %s": (
            "sign_in.sessions_kept",
            "error",
        ),
        "User %s was added with the role %s": ("user.added", "user", "role"),
        "User %s %s": ("user.changed", "user", "change"),
        "Key %s of user %s was made": ("key.made", "key_prefix", "user"),
        "Key %s of user %s was revoked": ("key.revoked", "key_prefix", "user"),
        "The last use of key %s was not written: %s": ("key.use_unsaved", "key_prefix", "error"),
        # ── webhooks ────────────────────────────────────────────────────────────────────────────
        "%s for job %s: %s %s": ("end_program.ended", "program", "job_id", "end", "output"),
        "Webhooks could not be delivered": ("webhook.failed",),
        "No process has SEEN_ON_END any more; %d ends were left for it": (
            "end_program.dropped",
            "ends",
        ),
        "Ends of jobs are not kept for SEEN_ON_END yet: %s": ("end_program.not_noted", "error"),
        # ── the HTTP API ────────────────────────────────────────────────────────────────────────
        "%s %s -> %d": ("http.request", "method", "path", "status"),
        "%s %s failed": ("http.internal_error", "method", "path"),
        "%s %s: %s": ("http.unavailable", "method", "path", "error"),
    }
)


def describe(template: object) -> tuple[str, ...] | None:
    """Return the event and the names of a log call's text; None for a text that is not here."""
    return EVENTS.get(template) if isinstance(template, str) else None
