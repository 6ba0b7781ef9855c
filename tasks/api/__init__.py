"""The public Python API: submit jobs, control them, read them.

Open `submit.py` first.
"""
