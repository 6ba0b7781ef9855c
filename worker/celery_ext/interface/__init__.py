"""What people reach through Celery's own interface: sending tasks, queue names, results, commands.

What works as in any Celery project stays; for the rest one sentence says what to use instead. Open
`app_class.py` first.
"""
