"""The parts of ``python -m bench transfer``."""
