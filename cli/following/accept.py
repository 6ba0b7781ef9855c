"""Accept many requests in groups, so that workers start early and Ctrl-C is heard between two groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tasks
from cli.output.messages import say
from cli.signals import AnsweredInterrupt, SecondInterrupt, delay_interrupts
from domain.errors import SeenError
from domain.request import DownloadRequest
from worker.runtime import Runtime

#: Requests of one call: it takes less than a second.
GROUP = 1000


def accept(
    requests: Sequence[DownloadRequest],
    runtime: Runtime,
    take: Callable[[Sequence[tasks.SubmittedJob]], None],
    progress: Callable[[int], None],
) -> None:
    """Submit requests in groups; of each group, all or none are accepted.

    Args:
        requests: what to download.
        runtime: of this process.
        take: is called with the jobs of each group.
        progress: is called with the number of accepted requests.

    Raises:
        AnsweredInterrupt: Ctrl-C; it has been said what was accepted.
        SeenError: a group was refused. If others were accepted before, that has been said.
    """
    accepted, total = 0, len(requests)
    try:
        while accepted < total:
            progress(accepted)
            with delay_interrupts(lambda: say("stopping after this group of downloads …")):
                jobs = tasks.submit_many(requests[accepted : accepted + GROUP], runtime=runtime)
                accepted += len(jobs)
                take(jobs)
        progress(accepted)
    except SecondInterrupt:
        at_most = min(GROUP, total - accepted)
        say(
            f"left at once: {accepted:,} to {accepted + at_most:,} of {total:,} are accepted. {_REST}"
        )
        raise AnsweredInterrupt from None
    except KeyboardInterrupt:
        say(f"interrupted. {_so_far(accepted, total)}")
        raise AnsweredInterrupt from None
    except SeenError:
        if 0 < accepted < total:
            say(_so_far(accepted, total))
        raise


_REST = "The same command adds the others; a job that is not finished is not added again."


def _so_far(accepted: int, total: int) -> str:
    if not accepted:
        return "No download is accepted."
    if accepted == total:
        return (
            f"All {total:,} downloads are accepted." if total > 1 else "The download is accepted."
        )
    return f"{accepted:,} of {total:,} downloads are accepted. {_REST}"
