"""What a job has done and what it does, as text for a row or a line."""

from __future__ import annotations

from datetime import datetime

from cli.output import formatting
from cli.output.job_state import state
from cli.output.remedies import remedy
from domain.job import RUNNING, JobStatus
from domain.text import printable
from tasks.api.job_view import JobView, WaitingFor

#: A download without a byte for so many seconds is shown as stalled.
STALLED_AFTER = 5.0
#: A longer time left is not shown: it is a guess. Seconds.
_LONGEST_LEFT = 99 * 86_400

_SHORT_WAITS = {
    WaitingFor.HOST_SLOT: ("waiting for a slot", "waiting"),
    WaitingFor.USER_SLOT: ("waiting for a slot", "waiting"),
    WaitingFor.TOTAL_SLOT: ("waiting for a slot", "waiting"),
    WaitingFor.HOST_COOLDOWN: ("cooldown",),
    WaitingFor.DISK: ("disk error",),
    WaitingFor.PART_FILE: ("file in use",),
    WaitingFor.WORKER_RESOURCES: ("no resources",),
}


def amount(view: JobView) -> str:
    """Return downloaded and total bytes, ``12.3 of 200.0 MB``."""
    progress = view.progress
    if progress.bytes_total is not None:
        return formatting.part_of(progress.bytes_downloaded, progress.bytes_total)
    done = formatting.size(progress.bytes_downloaded)
    return f"{done}, total unknown" if progress.bytes_downloaded else "total unknown"


def percent(view: JobView) -> str:
    """Return the downloaded share, ``7.5 %``; empty while the total is unknown."""
    share = view.progress.progress_percent
    return "" if share is None else f"{share:.1f} %"


def short_percent(view: JobView) -> str:
    """Return the downloaded share in at most five cells: rounded down, ``62 %``."""
    share = view.progress.progress_percent
    if share is None:
        return "? %"
    return f"{share:.1f} %" if share < 10 else f"{int(share)} %"


def time_left(view: JobView) -> str:
    """Return the time left, ``3 min 20 s``; empty while it is unknown."""
    left = view.progress.eta_seconds
    if left is None:
        return ""
    return formatting.duration(left) if left < _LONGEST_LEFT else "> 99 d"


def seconds_stalled(view: JobView) -> float:
    """Return for how long a downloading job has received no byte; 0 unless it is stalled.

    Both times come from the store's clock, which may differ from that of this machine.
    """
    progress = view.progress
    if view.status is not JobStatus.DOWNLOADING or progress.last_byte_at is None:
        return 0.0
    if progress.updated_at is None:
        return 0.0
    silent = (progress.updated_at - progress.last_byte_at).total_seconds()
    return silent if silent >= STALLED_AFTER else 0.0


def is_receiving(view: JobView) -> bool:
    """Return whether the speed of a job says more than its state."""
    return (
        view.status is JobStatus.DOWNLOADING
        and not view.job.control
        and not view.has_silent_disk
        and bool(view.progress.bytes_downloaded)
        and (view.progress.speed > 0 or view.progress.last_byte_at is not None)
        and not seconds_stalled(view)
    )


def states(view: JobView, now: datetime) -> tuple[str, ...]:
    """Return the state of a job that receives no bytes, in words: the longest text first."""
    stalled = seconds_stalled(view)
    if view.has_silent_disk:
        return (state(view, now), "disk does not answer", "disk hangs")
    if view.job.control and view.status in RUNNING:
        short = "pausing" if view.job.control == "pause" else "cancelling"
        return (state(view, now), short)
    if stalled:
        return (f"stalled for {formatting.duration(stalled)}", "stalled")
    if view.status is JobStatus.DOWNLOADING:
        return ("connecting",)
    text = state(view, now)
    if view.waiting_for is WaitingFor.RETRY:
        reason = printable(view.progress.reason or "")
        return (f"{text}: {reason}", text, text.replace("retrying in", "retry"), "retrying")
    return (text, *(_SHORT_WAITS.get(view.waiting_for, ()) if view.waiting_for else ()))


def speed_or_state(view: JobView, now: datetime | None = None) -> str:
    """Return speed and time left of a download that receives bytes, else the state."""
    if is_receiving(view):
        speed, left = formatting.rate(view.progress.speed), time_left(view)
        return f"{speed}, {left} left" if left else speed
    stalled = seconds_stalled(view)
    if stalled and not view.has_silent_disk:
        return f"stalled for {formatting.duration(stalled)}"
    is_plain = not (view.job.control or view.has_silent_disk)
    if view.status is JobStatus.DOWNLOADING and is_plain:
        return "connecting"
    return state(view, now)


def result_line(view: JobView) -> str:
    """Return one line about a job that is finished or paused; of a failed one, what to do."""
    progress = view.progress
    if view.status is JobStatus.COMPLETED:
        path = printable(progress.path or "")
        return f"{view.lasting_label}: {formatting.size(progress.bytes_downloaded)} → {path}"
    reason = f": {printable(progress.reason)}" if progress.reason else ""
    advice = remedy(view) if view.status is JobStatus.FAILED else ""
    return f"{view.label}: {view.status.value}{reason}{advice and ' ' + advice}"
