"""Reading jobs: one, a page, a history, what changes."""
