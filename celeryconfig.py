"""Celery's settings: queues, routes, sockets, and the schedule of beat."""

from kombu import Exchange, Queue

import settings as _settings
from worker.broker import queues as _queues
from worker.broker import task_messages as _task_messages
from worker.celery_ext import command_line as _command_line

_command_line.use_running_stack()
_s = _settings.load()

# ── where ───────────────────────────────────────────────────────────────────────────────────────
broker_url = _s.celery_broker_url()
# Results of jobs are in SQL.
result_backend = "worker.celery_ext.interface.results:NoResults"

# ── sockets ─────────────────────────────────────────────────────────────────────────────────────
_sockets = {
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
broker_transport_options = {
    **_sockets,
    # A message only names a job, and SQL has the jobs that need one: a message that is lost with its
    # worker is published again by `download.reconcile` within a minute. The transport's own record of
    # unacknowledged messages would cost two round trips for each job, and return one after an hour.
    "ack_emulation": False,
    # A publisher gets an error within a second if the broker refuses, and after SEEN_CACHE_TIMEOUT if it
    # does not answer (`worker.broker.client.Broker`). SQL has the job, and `download.requeue_due`
    # publishes it. For a worker, which waits for its broker, `broker_connection_max_retries` counts.
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
    "queue_order_strategy": "worker.broker.queues:PriorityOrder",
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for its broker without limit
if _s.cache_tls:
    import ssl as _ssl

    # For URLs that are derived from the store's; a URL set by itself has its own parameters.
    _tls = {
        "ssl_cert_reqs": _ssl.CERT_REQUIRED if _s.cache_tls_verify else _ssl.CERT_NONE,
        "ssl_ca_certs": str(_s.cache_tls_ca) if _s.cache_tls_ca else None,
    }
    if _s.broker_url is None:
        broker_use_ssl = _tls

# ── messages ────────────────────────────────────────────────────────────────────────────────────
task_serializer = result_serializer = event_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
task_store_errors_even_if_ignored = False
timezone = "UTC"
enable_utc = True

# ── queues ──────────────────────────────────────────────────────────────────────────────────────
# Downloads and maintenance have separate workers, so periodic tasks never wait behind downloads. There
# is a download queue for each priority.
task_queues = tuple(
    Queue(name, Exchange(name), routing_key=name)
    for name in (*_queues.DOWNLOAD_QUEUES, _queues.MAINTENANCE_QUEUE)
)
# Messages of `download.run` are sent to the queue of their job; all other tasks use this queue.
task_default_queue = _queues.MAINTENANCE_QUEUE
task_create_missing_queues = False
imports = (
    "tasks.downloads",
    "tasks.periodic.persist",
    "tasks.periodic.reconcile",
    "tasks.periodic.maintenance",
    "tasks.periodic.purge",
    "tasks.periodic.broker",
)

# ── workers ─────────────────────────────────────────────────────────────────────────────────────
# A message is acknowledged before its jobs run, because SQL decides what runs. A worker takes a message
# when it has a free slot: one that a busy worker held would delay jobs that another could run.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_cancel_long_running_tasks_on_connection_loss = False
# The pool hands downloads to the event loop of the process; prefork and solo work, too.
worker_pool = "worker.celery_ext.pool:TaskPool"
worker_autoscaler = "worker.celery_ext.pool.autoscaler:Autoscaler"
worker_consumer = "worker.celery_ext.consumer:Consumer"
worker_concurrency = _s.download_concurrency
worker_send_task_events = True
task_send_sent_event = False
# Flower would show little else: one of the periodic tasks runs every two seconds.
task_annotations = {name: {"send_events": False} for name in _task_messages.MAINTENANCE_TASKS}
worker_hijack_root_logger = True
worker_log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
worker_task_log_format = worker_log_format
worker_redirect_stdouts = False

# ── beat ────────────────────────────────────────────────────────────────────────────────────────
beat_scheduler = "worker.celery_ext.scheduler:Scheduler"


def _every(seconds: float, task: str) -> dict[str, object]:
    # A message that is not consumed for an interval expires: the next one does its work. It lasts at
    # least a minute, since the clocks of beat and worker may differ.
    return {"task": task, "schedule": seconds, "options": {"expires": max(60.0, seconds)}}


beat_schedule = {
    "download.persist_progress": _every(_s.persist_interval, "download.persist_progress"),
    "download.requeue_due": _every(_s.requeue_interval, "download.requeue_due"),
    "download.reconcile": _every(_s.reconcile_interval, "download.reconcile"),
    "download.cleanup_stale": _every(_s.cleanup_interval, "download.cleanup_stale"),
    "cache.log_stats": _every(_s.stats_interval, "cache.log_stats"),
    "download.purge": _every(3600.0, "download.purge"),
    "broker.sweep": _every(_s.cleanup_interval, "broker.sweep"),
}
# Seconds between two ticks of beat at most.
beat_max_loop_interval = min(5.0, _s.requeue_interval)
