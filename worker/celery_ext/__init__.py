"""What Celery's worker and beat do differently here: pool, consumer, scheduler, shutdown.

Open `main.py` first.
"""
