"""What watchers and monitoring read: events by their numbers, numbers of jobs."""
