"""What `seen doctor` and the health checks look at.

Open `run.py` first.
"""
