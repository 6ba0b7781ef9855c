"""What aria2's clients ask for: a job by its GID, and jobs by their place in the queue."""

from database.aria2.queue_places import GidOwner, QueuePlaces

__all__ = ["GidOwner", "QueuePlaces"]
