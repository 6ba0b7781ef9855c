"""Programs that tests start with `python -m`; none is imported for use."""
