"""What must hold when everything is well again: each end arrived, in order, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from database.webhooks import Delivery, DeliveryState
from domain.job import FINISHED, JobEvent
from tests.chaos.webhooks.faulty_receiver import Arrival
from worker.webhooks.signatures import signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run has left.

    Attributes:
        receivers: the paths that each job's ends are delivered to, by the job's id.
        events: of each job, the oldest first.
        arrivals: at the receiver, in their order.
        deliveries: all rows of the outbox.
        secret: that signs.
    """

    receivers: Mapping[str, Sequence[str]]
    events: Mapping[str, Sequence[JobEvent]]
    arrivals: Sequence[Arrival]
    deliveries: Sequence[Delivery]
    secret: str

    def ends(self, job_id: str) -> dict[str, JobEvent]:
        """Return the ends of a job by the id of their message, in order."""
        return {
            message_id(job_id, event.at): event
            for event in self.events[job_id]
            if event.to_status in FINISHED and event.from_status is not event.to_status
        }


def message_id(job_id: str, at: datetime) -> str:
    """Return the id of a delivery as docs/webhooks.md says: one for each end of a job."""
    return f"msg_{job_id}_{round(at.timestamp() * 1e6)}"


def violations(evidence: Evidence) -> list[str]:
    """Return what is not as it should be."""
    return [what for check in _CHECKS for what in check(evidence)]


def each_end_arrives(evidence: Evidence) -> Iterator[str]:
    """Each end was accepted by each of its receivers; a job that has not ended has none."""
    accepted = {
        (one.request.path, one.request.headers["webhook-id"])
        for one in evidence.arrivals
        if one.is_accepted
    }
    for job_id, paths in evidence.receivers.items():
        ends = evidence.ends(job_id)
        if not ends:
            yield f"job {job_id} has not ended"
        for end, path in ((end, path) for end in ends for path in paths):
            if (path, end) not in accepted:
                yield f"{end} ({ends[end].to_status}) was never accepted at {path}"


def nothing_else_arrives(evidence: Evidence) -> Iterator[str]:
    """What arrives is the end of a job, after it has ended, with its state, signed, at its receiver."""
    for at, request, _ in evidence.arrivals:
        found, content = request.headers["webhook-id"], request.content
        job_id = content["data"]["id"]
        if request.path not in evidence.receivers.get(job_id, ()):
            yield f"{found} arrived at {request.path}"
            continue
        end = evidence.ends(job_id).get(found)
        if end is None:
            yield f"{found} arrived, and job {job_id} has no such end"
        elif at < end.at:
            yield f"{found} arrived before the job had ended"
        elif content["type"] != f"download.{end.to_status}":
            yield f"{found} is {content['type']}, the job was {end.to_status}"
        stamp = int(request.headers["webhook-timestamp"])
        if request.headers["webhook-signature"] != signature(
            evidence.secret, found, stamp, request.body
        ):
            yield f"{found} has a wrong signature"


def ends_arrive_in_order(evidence: Evidence) -> Iterator[str]:
    """Of one job and receiver, no end arrives before an earlier one was accepted."""
    accepted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in evidence.arrivals:
        job_id, found = one.request.content["data"]["id"], one.request.headers["webhook-id"]
        seen = accepted[one.request.path, job_id]
        order = list(evidence.ends(job_id))
        for earlier, later in pairwise(order):
            if later == found and earlier not in seen:
                yield f"{later} arrived at {one.request.path} before {earlier} was accepted"
        if one.is_accepted:
            seen.add(found)


def the_outbox_is_done(evidence: Evidence) -> Iterator[str]:
    """Nothing is pending or given up."""
    for one in evidence.deliveries:
        if one.state is not DeliveryState.DELIVERED:
            last = one.log[-1].error if one.log else None
            yield f"delivery {one.id} ({one.message_id}) is {one.state}: {last}"


_CHECKS = (each_end_arrives, nothing_else_arrives, ends_arrive_in_order, the_outbox_is_done)
