"""The vocabulary of the service: jobs, requests, their states and errors. It imports no other room.

Open `job.py` first, then `request.py` and `errors.py`.
"""
