"""Flower's settings: ``celery -A worker.app flower --conf=flowerconfig.py``, which `seen flower` runs.

Flower executes this file and uses every name that is one of its options. These values override FLOWER_
variables; command-line arguments override both.
"""

import ast
import os
import re
from typing import Any

import settings as _settings
from domain.errors import SettingsError as _SettingsError
from domain.ids import is_job_id
from worker.celery_ext import flower_events as _flower_events
from worker.celery_ext import flower_login as _flower_login
from worker.celery_ext import ignored_signals as _ignored_signals
from worker.logs import setup as _log_setup
from worker.process import listening as _listening

try:
    _s = _settings.load()
except _SettingsError as _error:
    raise SystemExit(str(_error)) from None
_log_setup.use_line_records()
_flower_events.install()
_ignored_signals.install_in_flower()
_flower_login.install()

address = _s.flower_address
port = _s.flower_port
read_only = _s.flower_read_only
_refusal = _listening.refusal(address, port)
if _refusal is not None:
    raise SystemExit(_listening.explain(address, port, _refusal))

# ── access ────────────────────────────────────────────────────────────────────────────────────── A
# list, because Flower splits FLOWER_BASIC_AUTH at commas and would accept half of a password that
# contains one. With a password set, Flower's API requires it as well, whatever
# FLOWER_UNAUTHENTICATED_API is. Only /healthcheck and /metrics, which name workers and tasks but no
# jobs, stay open.
_password = _s.flower_password.get_secret_value()
if not _password.isascii():
    raise SystemExit("SEEN_FLOWER_PASSWORD must be ASCII: Flower cannot compare other characters.")
if _password:
    basic_auth = [f"{_s.flower_user}:{_password}"]
elif not os.environ.get("FLOWER_BASIC_AUTH"):
    raise SystemExit("Flower does not start without a password: set SEEN_FLOWER_PASSWORD.")

# ── saved state ─────────────────────────────────────────────────────────────────────────────────
try:
    _s.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
except OSError as _failure:
    raise SystemExit(
        f"The data folder {_s.data_dir} cannot be created: {_failure.strerror}. Set SEEN_DATA_DIR."
    ) from None
os.umask(0o077)  # Flower creates its files itself; only their owner may read them
persistent = True
db = str(_s.data_dir / "flower")
# Flower does not respond while it saves: with this many tasks for a moment only. Jobs are in SQL anyway.
max_tasks = 10_000
state_save_interval = 60_000  # milliseconds
purge_offline_workers = 86_400  # seconds; a recreated container has a new name

# ── display ─────────────────────────────────────────────────────────────────────────────────────
inspect_timeout = (
    2_000.0  # milliseconds; a worker with many transfers may need more than one second
)
natural_time = True
tasks_columns = "name,args,state,result,received,started,runtime,worker,uuid"
# Seconds: maintenance tasks take a fraction of one, large downloads take hours.
task_runtime_metric_buckets = [
    *(0.1, 0.5, 1.0, 5.0, 15.0, 60.0),
    *(300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0),
]

#: The last argument of a message that names many jobs, as events show it.
_MORE = re.compile(r"and [0-9]+ more", re.ASCII)


def format_task(task: Any) -> Any:
    """Show a download's job ids as its arguments, and its outcome with the reason as its result."""
    task.args = _job_ids(task.args)
    task.kwargs = ""
    task.result = _outcome(task.state, task.result, task.exception)
    return task


def _outcome(state: str, result: object, exception: object) -> str:
    """Return the outcome of a task; empty while it runs."""
    if state in {"FAILURE", "RETRY"}:
        return str(exception or "")
    return str(result or "").strip("'")  # Celery sends the representation of a result


def _job_ids(shown: object) -> str:
    """Return the job ids in ``('<id>', …)``, the form of an event's arguments; empty without one."""
    try:
        arguments = ast.literal_eval(str(shown))
    except (ValueError, SyntaxError):
        return ""
    texts = arguments if isinstance(arguments, tuple) else ()
    ids = [text for text in texts if isinstance(text, str) and is_job_id(text)]
    rest = [text for text in texts[-1:] if ids and _MORE.fullmatch(str(text))]
    return " ".join([", ".join(ids), *rest])
