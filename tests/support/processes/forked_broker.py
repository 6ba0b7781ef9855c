"""A process that publishes, forks, and publishes in its child. Run, not imported:

    python -m tests.support.processes.forked_broker

The store is the one in the environment. It prints what went wrong, if anything, and fails then.
"""

from __future__ import annotations

from redis import Redis

from domain.ids import new_job_id
from domain.job import Priority, QueuedJob
from tests.support.build import NOW
from tests.support.processes.forked import in_child
from worker.app import close_runtime, current_runtime

PARENT, CHILD = new_job_id(), new_job_id()


def job(name: str) -> QueuedJob:
    """A job of normal priority."""
    return QueuedJob(name, Priority.NORMAL, NOW)


def addresses(client: Redis) -> set[str]:
    """Those of all connections to the broker's database."""
    return {other["addr"] for other in client.client_list() if other["db"] == "1"}


def main() -> None:
    """Parent and child publish by turns, each through its own connections."""
    runtime = current_runtime()
    runtime.broker.publish([job(PARENT)], NOW)
    of_parent = addresses(runtime.cache.client)
    assert of_parent, "the parent is connected"

    def work() -> None:
        current_runtime().broker.publish([job(CHILD)], NOW)
        new = addresses(current_runtime().cache.client) - of_parent
        assert new, "the child has published through its parent's connection"
        close_runtime()

    in_child(work)
    runtime.broker.publish([job(PARENT)], NOW)
    assert sum(runtime.broker.backlogs().values()) == 3
    assert runtime.broker.head(Priority.NORMAL) == ((PARENT,), NOW)
    assert addresses(runtime.cache.client) >= of_parent, "the parent's connections have survived"


if __name__ == "__main__":
    main()
