"""One attempt at a claimed job, and the states that it writes.

Open `attempt.py` first; `attempt_end.py` says in which state each error leaves the job.
"""
