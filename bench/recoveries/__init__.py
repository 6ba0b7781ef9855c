"""The parts of ``python -m bench recovery``."""
