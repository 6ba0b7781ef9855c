"""Celery's settings: queues, routes, sockets, and what beat does when. Reasons stand beside them."""

from kombu import Exchange, Queue

import settings as _settings
from worker.broker import queues as _queues

_s = _settings.load()

# ── where ───────────────────────────────────────────────────────────────────────────────────────
broker_url = _s.celery_broker_url()
result_backend = _s.celery_result_url()

# ── sockets ─────────────────────────────────────────────────────────────────────────────────────
_sockets = {
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
broker_transport_options = {
    **_sockets,
    # A message only names a job, and SQL knows which jobs want one: what a falling worker takes with
    # it, `download.reconcile` publishes again within a minute. The transport's own book of messages
    # not yet acknowledged would cost two round trips a job, to give one back after an hour.
    "ack_emulation": False,
    # Who publishes hears within a second that the broker refuses (that it is silent: after
    # SEEN_CACHE_TIMEOUT, see `worker.broker.client.Broker`); SQL has the job, and beat publishes it.
    # (A worker waits for its broker by other settings, below.)
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
    "queue_order_strategy": "worker.broker.queues:PriorityOrder",
}
result_backend_transport_options = dict(_sockets)
redis_socket_timeout = 30
redis_socket_connect_timeout = 5
# A unix socket knows no keepalive, and Celery's backend would fail for asking.
redis_socket_keepalive = not result_backend.startswith("redis+socket")
redis_backend_health_check_interval = 25
#: One for all threads: no task stores a result, and building one takes descriptors.
result_backend_thread_safe = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for its broker, however long it is away
if _s.cache_tls:
    import ssl as _ssl

    # For the addresses that are made from the store's; one given by itself brings its own parameters.
    _tls = {
        "ssl_cert_reqs": _ssl.CERT_REQUIRED if _s.cache_tls_verify else _ssl.CERT_NONE,
        "ssl_ca_certs": str(_s.cache_tls_ca) if _s.cache_tls_ca else None,
    }
    if _s.broker_url is None:
        broker_use_ssl = _tls
    if _s.result_url is None:
        redis_backend_use_ssl = _tls

# ── messages ────────────────────────────────────────────────────────────────────────────────────
task_serializer = result_serializer = event_serializer = "json"
accept_content = ["json"]
task_ignore_result = True  # what became of a job, SQL says
task_store_errors_even_if_ignored = False
timezone = "UTC"
enable_utc = True

# ── queues ──────────────────────────────────────────────────────────────────────────────────────
# Downloads and maintenance have workers of their own: however many downloads wait, what beat sends is
# never behind them. Downloads wait in a queue for each priority.
task_queues = tuple(
    Queue(name, Exchange(name), routing_key=name)
    for name in (*_queues.DOWNLOAD_QUEUES, _queues.MAINTENANCE_QUEUE)
)
# `download.run` names its job's queue itself; all the rest is maintenance.
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
# Acknowledged early, one message for each free slot: SQL decides what is to be done, and a message
# that sits in a busy worker is a job that another worker could run.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_cancel_long_running_tasks_on_connection_loss = False
# libcurl lets go of the GIL while it waits, so threads serve well; prefork works too.
worker_pool = "worker.celery_ext.pool:TaskPool"
worker_consumer = "worker.celery_ext.consumer:Consumer"
worker_concurrency = _s.download_concurrency
worker_send_task_events = True
task_send_sent_event = False
worker_hijack_root_logger = True
worker_log_format = "%(asctime)s %(levelname)s %(name)s: %(message)s"
worker_task_log_format = worker_log_format
worker_redirect_stdouts = False

# ── beat ────────────────────────────────────────────────────────────────────────────────────────
beat_scheduler = "worker.celery_ext.scheduler:Scheduler"


def _every(seconds: float, task: str) -> dict[str, object]:
    # Ticks that nobody took for long are dropped: the next one does their work. Not sooner than after a
    # minute, since beat's clock and the worker's may differ.
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
# Beat looks at its schedule at least this often, and no less often than its shortest interval.
beat_max_loop_interval = min(5.0, _s.requeue_interval)
