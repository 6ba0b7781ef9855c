"""Flower's settings: ``celery -A worker.app flower --conf=flowerconfig.py``, which `seen flower` runs.

Flower executes this file and takes every name that is one of its options; other names it leaves alone.
What stands here wins over FLOWER_ variables, and an argument wins over both.
"""

import ast
import os
from typing import Any

import settings as _settings
from domain.ids import is_job_id
from worker.celery_ext import flower_events as _flower_events
from worker.celery_ext import log_format as _log_lines

_s = _settings.load()
_log_lines.install()
_flower_events.install()

address = _s.flower_address
port = _s.flower_port
read_only = _s.flower_read_only

# ── who may look ────────────────────────────────────────────────────────────────────────────────
# As a list, since Flower splits FLOWER_BASIC_AUTH at its commas: half of a password with a comma in it
# would do. With a password set, its API asks for it, too, whatever FLOWER_UNAUTHENTICATED_API says.
# Only /healthcheck and /metrics, which name workers and tasks but no jobs, stay open.
_password = _s.flower_password.get_secret_value()
if not _password.isascii():
    raise SystemExit("SEEN_FLOWER_PASSWORD must be ASCII: Flower cannot compare any other.")
if _password:
    basic_auth = [f"{_s.flower_user}:{_password}"]
elif not os.environ.get("FLOWER_BASIC_AUTH"):
    raise SystemExit("Flower does not start without a password: set SEEN_FLOWER_PASSWORD.")

# ── what it remembers ───────────────────────────────────────────────────────────────────────────
_s.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
os.umask(0o077)  # Flower opens its file itself; all of its files are for their owner alone
persistent = True
db = str(_s.data_dir / "flower")
# Flower stands still while it saves; with this many tasks that is a blink. What SQL knows is not lost.
max_tasks = 10_000
state_save_interval = 60_000  # milliseconds
purge_offline_workers = 86_400  # seconds; a container that is made anew has a new name

# ── what it asks and shows ──────────────────────────────────────────────────────────────────────
inspect_timeout = 2_000.0  # milliseconds; a worker full of transfers may take more than one second
natural_time = True
tasks_columns = "name,args,state,received,started,runtime,worker,uuid"
# Seconds. A maintenance task takes a fraction of one, a film over a slow line takes hours.
task_runtime_metric_buckets = [
    *(0.1, 0.5, 1.0, 5.0, 15.0, 60.0),
    *(300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0),
]


def format_task(task: Any) -> Any:
    """Show the job id of a download as its arguments, and nothing else of any task's arguments."""
    task.args = _job_id(task.args)
    task.kwargs = ""
    return task


def _job_id(shown: object) -> str:
    """Return the job id in ``('<id>',)``, the way an event carries arguments; empty without one."""
    try:
        arguments = ast.literal_eval(str(shown))
    except (ValueError, SyntaxError):
        return ""
    match arguments:
        case (str(text),) if is_job_id(text):
            return text
    return ""
