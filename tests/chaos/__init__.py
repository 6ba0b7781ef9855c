"""The whole system, broken at random by a seed; `python -m tests.chaos`. Open run.py first."""
