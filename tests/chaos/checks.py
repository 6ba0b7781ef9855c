"""The checks after a run. Each violation names the job and the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from domain.files import WORKING_PREFIX
from domain.job import FINISHED, TRANSITIONS, Job, JobEvent, JobStatus
from tests.chaos.evidence import Evidence
from tests.support.histories import claims_in
from tests.support.origins.origin import RequestLog

#: The origin finds out that a client has left when its thread next runs, on a machine that is busy with
#: everything at once. Seconds.
NOTICING = 0.5
#: From when bytes leave the origin until a checkpoint could vouch for them, besides the interval between
#: two: they are gathered for a quarter of a second, hashed, and fsynced, on that same machine. Seconds.
LATENESS = 1.5
#: What may lie in buffers besides: one block that waits to be written.
BUFFERS = 512 * 1024

#: How long a fetch may overlap with one that had its slot: the time between the renewals of slots and of
#: locks, and until the origin notices. Seconds.
HANDED_OVER = 2.5
#: From when a slot is acquired, with a limit as it was a second before, to the first byte of the answer,
#: on that same machine. Seconds.
ADMITTED = 5.0

S = JobStatus
Check = Callable[[Evidence], Iterator["Violation"]]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is not as it should be."""

    check: str
    job_id: str | None
    what: str

    def __str__(self) -> str:
        whose = f"job {self.job_id}: " if self.job_id else ""
        return f"{self.check}: {whose}{self.what}"


def violations(evidence: Evidence) -> list[Violation]:
    """Run every check."""
    return [found for check in CHECKS for found in check(evidence)]


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────


def every_accepted_job_has_ended(evidence: Evidence) -> Iterator[Violation]:
    """No accepted job is lost."""
    name = "every accepted job has ended"
    for job_id in evidence.submissions:
        job = evidence.jobs.get(job_id)
        if job is None:
            yield Violation(name, job_id, "it was accepted and is not in the database")
        elif job.status not in FINISHED:
            last_event = _last(evidence, job)
            yield Violation(
                name, job_id, f"it is {job.status} ({job.reason}); last event: {last_event}"
            )


def every_job_ends_as_it_should(evidence: Evidence) -> Iterator[Violation]:
    """What can be had is completed, what cannot is failed for that reason, and so on."""
    for job in evidence.jobs.values():
        spec, submission = evidence.spec(job), evidence.submissions.get(job.id)
        may_be_cancelled = submission is not None and submission.may_be_cancelled
        right = {
            S.COMPLETED: spec.error_code is None,
            S.FAILED: spec.error_code is not None and job.error_code == spec.error_code,
            S.CANCELLED: may_be_cancelled,
        }.get(job.status, True)
        if not right:
            asked = submission.words if submission else "nothing"
            yield Violation(
                "every job ends as it should",
                job.id,
                f"it is {job.status} ({job.error_code}: {job.reason}); its file: {spec.sort}; "
                f"asked of it: {asked}; last event: {_last(evidence, job)}",
            )


def the_history_is_legal(evidence: Evidence) -> Iterator[Violation]:
    """The audit trail is one path through the states, and it leads to the row."""
    for job in evidence.jobs.values():
        events = list(evidence.events[job.id])
        for what in _wrong_in_history(job, events):
            yield Violation("the history is legal", job.id, what)


def _wrong_in_history(job: Job, events: list[JobEvent]) -> Iterator[str]:
    if not events:
        yield "it has none"
        return
    first, last = events[0], events[-1]
    if (first.from_status, first.to_status, first.fence) != (None, S.QUEUED, 0):
        yield f"it begins with {_told(first)}"
    for before, event in pairwise(events):
        if event.from_status is not before.to_status:
            yield f"{_told(event)} follows {_told(before)}"
        elif not _is_note(event) and event.to_status not in TRANSITIONS[before.to_status]:
            yield f"{_told(event)} is no legal change"
        if event.fence != before.fence + claims_in(event):
            yield f"the claim goes from {before.fence} to {event.fence} at {_told(event)}"
    for event in events:
        if event.attempt > job.max_attempts:
            yield f"attempt {event.attempt} of {job.max_attempts}: {_told(event)}"
    stands, last_event = (
        (job.status, job.fence, job.attempts),
        (last.to_status, last.fence, last.attempt),
    )
    if stands != last_event:
        yield f"the row says {stands}, the last event {last_event}"
    yield from _two_workers(events)


def _two_workers(events: list[JobEvent]) -> Iterator[str]:
    owners: dict[int, str] = {}
    for event in events:
        if event.worker is not None and event.to_status in {S.DOWNLOADING, S.VERIFYING}:
            owner = owners.setdefault(event.fence, event.worker)
            if owner != event.worker:
                yield f"claim {event.fence} belongs to {owner} and to {event.worker}"


def _is_note(event: JobEvent) -> bool:
    return event.from_status is event.to_status


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def completed_files_are_right(evidence: Evidence) -> Iterator[Violation]:
    """A completed job's file is its origin's, byte by byte, where SQL says."""
    name = "completed files are right"
    files = {str(path): digest for path, digest in evidence.files.items()}
    for job in evidence.jobs.values():
        if job.status is not S.COMPLETED:
            continue
        wanted = evidence.spec(job).file
        digest = files.get(job.path or "")
        if digest is None:
            yield Violation(name, job.id, f"there is no file at {job.path}")
        elif not digest == job.sha256 == wanted.sha256:
            yield Violation(
                name,
                job.id,
                f"{job.path} has {digest}, SQL says {job.sha256}, the origin's is {wanted.sha256}",
            )
        counts = (job.bytes_durable, job.bytes_downloaded, job.bytes_total)
        if set(counts) != {wanted.size}:
            yield Violation(name, job.id, f"SQL counts {counts}, the file has {wanted.size} bytes")


def nothing_else_is_on_disk(evidence: Evidence) -> Iterator[Violation]:
    """There are no part files, checkpoints, or second copies."""
    for path in _nobodys(evidence):
        job = _whose_working_file(evidence, path)
        whose = f"a working file of a job that is {job.status}" if job else "a file of no job"
        what = f"{path.relative_to(evidence.folder)} is {whose}"
        yield Violation("nothing else is on disk", job.id if job else None, what)


def _nobodys(evidence: Evidence) -> list[Path]:
    owned = {job.path for job in evidence.jobs.values() if job.status is S.COMPLETED}
    return [path for path in evidence.files if str(path) not in owned]


def _whose_working_file(evidence: Evidence, path: Path) -> Job | None:
    if not path.name.startswith(WORKING_PREFIX):
        return None
    return evidence.jobs.get(path.stem.removeprefix(WORKING_PREFIX))


# ── the store ───────────────────────────────────────────────────────────────────────────────────


def the_store_is_clean(evidence: Evidence) -> Iterator[Violation]:
    """No locks, nothing running, nothing unsaved."""
    name, left = "the store is clean", evidence.leftovers
    for key in left.locks:
        yield Violation(name, None, f"the lock {key} is held")
    for job_id in left.active:
        yield Violation(name, job_id, "it is in the index of running downloads")
    for job_id in left.dirty:
        yield Violation(name, job_id, "it is in the index of unsaved progress")


# ── the origin ──────────────────────────────────────────────────────────────────────────────────


def no_bytes_are_fetched_twice_at_once(evidence: Evidence) -> Iterator[Violation]:
    """No two workers fetch one part of a file at one time."""
    for job in evidence.jobs.values():
        answers = evidence.answers(evidence.spec(job))
        for number, one in enumerate(answers):
            for other in answers[number + 1 :]:
                if _overlap(one, other):
                    yield Violation(
                        "no bytes are fetched twice at once",
                        job.id,
                        f"{_shown(one)} and {_shown(other)}",
                    )


def _overlap(one: RequestLog, other: RequestLog) -> bool:
    in_time = one.ended is None or one.ended - other.started > NOTICING
    ends = min(one.first + one.bytes_sent, other.first + other.bytes_sent)
    return in_time and ends > max(one.first, other.first)


def no_claim_fetches_a_small_file_twice(evidence: Evidence) -> Iterator[Violation]:
    """A small file arrives whole at most once for each claim, also when two workers had its message.

    Its answer takes no time, so that two at once do not show as an overlap. A file with another checksum
    is fetched once more before its job fails.
    """
    for job in evidence.jobs.values():
        spec = evidence.spec(job)
        whole = [one for one in evidence.answers(spec) if one.bytes_sent == spec.file.size]
        if spec.is_small and spec.error_code is None and len(whole) > job.fence:
            yield Violation(
                "no claim fetches a small file twice",
                job.id,
                f"{len(whole)} whole answers for {job.fence} claims",
            )


def a_failure_is_its_jobs_own(evidence: Evidence) -> Iterator[Violation]:
    """No job's history has the reason for which another one failed, as it should."""
    jobs = evidence.jobs.values()
    failed = [job for job in jobs if job.error_code and job.status is S.FAILED]
    reasons = {job.reason for job in failed if evidence.spec(job).error_code == job.error_code}
    for job in jobs:
        if evidence.spec(job).error_code is None:
            for event in evidence.events[job.id]:
                if event.reason and event.reason in reasons:
                    yield Violation("a failure is its job's own", job.id, _told(event))


def few_bytes_are_fetched_again(evidence: Evidence) -> Iterator[Violation]:
    """What an interruption costs is bounded by the interval between two checkpoints.

    Each answer begins where a checkpoint left off, so it repeats what the answer before it sent after
    that: its rate, times the interval, what else delays a checkpoint, and the time for which a worker
    stood still with the connection open (the kernel goes on receiving); and one buffer. Hence the bytes
    sent for a file are at most its size and so much for each interruption. Files that cannot be
    continued, and jobs that were restarted because a person cancelled or retried them, are left out.
    """
    for job in evidence.jobs.values():
        spec, submission = evidence.spec(job), evidence.submissions.get(job.id)
        if not spec.continues or (submission is not None and _was_begun_anew(submission.words)):
            continue
        for before, after in pairwise(evidence.answers(spec)):
            repeated = before.first + before.bytes_sent - after.first
            seconds = evidence.checkpoint_interval + LATENESS + _stood_still(evidence, before)
            allowed = spec.rate * seconds + BUFFERS
            if repeated > allowed:
                yield Violation(
                    "few bytes are fetched again",
                    job.id,
                    f"{_shown(after)} repeats {repeated:,} bytes of {_shown(before)}; "
                    f"at {spec.rate:,} bytes a second {allowed:,.0f} may be",
                )


def _was_begun_anew(words: list[str]) -> bool:
    return any(word.startswith(("cancel", "retry")) for word in words)


def _stood_still(evidence: Evidence, answer: RequestLog) -> float:
    """Return for how many seconds of an answer some worker stood still, at most."""
    end = answer.ended or float("inf")
    return sum(
        max(0.0, min(end, thawed) - max(answer.started, frozen))
        for frozen, thawed in evidence.frozen
    )


# ── the limit of all downloads ──────────────────────────────────────────────────────────────────


def no_more_run_than_the_limit_allows(evidence: Evidence) -> Iterator[Violation]:
    """Of the files that are fetched at one time, the last one was begun within a limit that held.

    What runs goes on when the limit falls, and a slot is acquired some time before the first byte comes.
    So all limits count from the beginning of the first of these fetches and some time before. Slots of
    a worker that is cut off expire some time before its downloads stop, and one that stands still keeps
    its connections: what is fetched together for a moment only, or then, is left out.
    """
    fetches = evidence.fetches
    for number, (begin, _) in enumerate(fetches):
        until = begin + HANDED_OVER
        live = [one for one in fetches[: number + 1] if one[1] > until]
        since = min((one[0] for one in live), default=begin) - ADMITTED
        allowed = evidence.highest_limit(since, begin)
        stood_still = any(frozen < until and thawed > since for frozen, thawed in evidence.frozen)
        if len(live) > allowed and not stood_still:
            yield Violation(
                "no more run than the limit allows",
                None,
                f"{len(live)} files were fetched at {begin:.2f} s; "
                f"{allowed:g} may be since {since:.2f} s",
            )


# ── what was seen on the way ────────────────────────────────────────────────────────────────────


def every_number_was_true(evidence: Evidence) -> Iterator[Violation]:
    """What readers were shown, and what callers were promised."""
    for job_id, what in evidence.seen:
        yield Violation("every number was true", job_id, what)


def programs_stayed_up(evidence: Evidence) -> Iterator[Violation]:
    """Nothing ended that was not ended, and what was signalled to end did."""
    for what in evidence.incidents:
        yield Violation("programs stayed up", None, what)


CHECKS: tuple[Check, ...] = (
    every_accepted_job_has_ended,
    every_job_ends_as_it_should,
    completed_files_are_right,
    nothing_else_is_on_disk,
    the_store_is_clean,
    no_bytes_are_fetched_twice_at_once,
    no_claim_fetches_a_small_file_twice,
    a_failure_is_its_jobs_own,
    few_bytes_are_fetched_again,
    no_more_run_than_the_limit_allows,
    the_history_is_legal,
    every_number_was_true,
    programs_stayed_up,
)


def _last(evidence: Evidence, job: Job) -> str:
    events = evidence.events[job.id]
    return _told(events[-1]) if events else "none"


def _told(event: JobEvent) -> str:
    reason = f" ({event.reason})" if event.reason else ""
    return f"{event.from_status} → {event.to_status}, claim {event.fence}{reason}"


def _shown(entry: RequestLog) -> str:
    end = "…" if entry.ended is None else f"{entry.ended:.2f}"
    span = f"{entry.first:,}-{entry.first + entry.bytes_sent:,}"
    return f"the answer of {entry.started:.2f} to {end} s (bytes {span})"
