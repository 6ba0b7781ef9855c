"""The checks of `seen doctor`, `seen worker --check` and `seen beat --check`.

Open `run.py` first.
"""
