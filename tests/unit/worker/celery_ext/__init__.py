"""Log lines, and the schedule of periodic tasks."""
