"""Celery's worker and beat as programs of their own: ``python -m worker.celery_ext.main worker|beat …``.

Celery's command line is left out. It loads the commands of every package that has some (Flower, with
its web server, and a line editor for a shell): a quarter of a second and 15 MB for each process. It also
takes ``-P prefork`` for its own default, and runs the configured pool instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from celery import signals
from celery.utils.nodenames import default_nodename, host_format

import settings as settings_module
from domain.errors import SettingsError
from worker import utf8_mode
from worker.app import app, drain
from worker.broker.queues import DOWNLOAD_QUEUES
from worker.celery_ext import command_line, descriptors
from worker.logs import setup as log_setup
from worker.process import standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program of the command line, and return its exit status."""
    options = _parser().parse_args(arguments)
    is_json = log_setup.start(_role(options))
    if is_json:
        signals.setup_logging.connect(log_setup.for_celery)
    drain.renew()  # the local stack forks all services, and may have stopped another one
    command_line.use_and_name_store()
    if options.program == "beat":
        # Without a pid file, which would stay in the current folder after a crash.
        app.Beat(loglevel=options.loglevel, quiet=is_json).run()
        return 0
    concurrency = options.concurrency
    if _role(options) == "downloads":
        concurrency = descriptors.prepare(concurrency, settings_module.load().connections)
    worker = app.Worker(
        hostname=host_format(default_nodename(options.hostname)),
        queues=options.queues.split(","),
        concurrency=concurrency,
        pool=options.pool,
        loglevel=options.loglevel,
        quiet=is_json,
    )
    worker.start()
    return int(worker.exitcode or 0)


def run(arguments: Sequence[str]) -> int:
    """Run the program; a wrong setting is one line on standard error and the status 2."""
    try:
        return main(arguments)
    except SettingsError as error:
        sys.stderr.write(f"seen: {error}\n")
        return 2


def _role(options: argparse.Namespace) -> str:
    """Return what the process is: ``beat``, or by its queues ``downloads`` or ``maintenance``."""
    if options.program == "beat":
        return "beat"
    is_for_downloads = set(DOWNLOAD_QUEUES) & set(options.queues.split(","))
    return "downloads" if is_for_downloads else "maintenance"


def _parser() -> argparse.ArgumentParser:
    """Define the options, which are a part of Celery's."""
    parser = argparse.ArgumentParser(prog="python -m worker.celery_ext.main")
    programs = parser.add_subparsers(dest="program", required=True)
    worker, beat = programs.add_parser("worker"), programs.add_parser("beat")
    worker.add_argument("-Q", "--queues", required=True, help="separated by commas")
    worker.add_argument("-n", "--hostname", required=True, help="%%h is the machine's name")
    worker.add_argument("-c", "--concurrency", type=int, required=True, help="jobs at once")
    worker.add_argument("-P", "--pool", help="Celery's name of a pool; by default this project's")
    for program in (worker, beat):
        program.add_argument("-l", "--loglevel", default="INFO")
    return parser


if __name__ == "__main__":
    utf8_mode.ensure()
    standard_streams.prepare_service()
    sys.exit(run(sys.argv[1:]))
