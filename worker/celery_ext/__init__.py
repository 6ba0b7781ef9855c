"""Changes to Celery's worker and beat: pool, consumer, scheduler, shutdown, heartbeat.

Open `main.py` first.
"""
