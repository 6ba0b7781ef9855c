"""Celery's result backend of this project: there are no results, and a caller hears it at once."""

from __future__ import annotations

from typing import Any, NoReturn

from celery.backends.base import DisabledBackend

from domain.errors import NoResultsError
from worker.celery_ext.command_line import errors_as_usage

_DisabledBackend: Any = DisabledBackend  # its stub lacks the methods that are replaced here


class NoResults(_DisabledBackend):  # type: ignore[misc]
    """Stores nothing. Each method that would read or wait for a result raises NoResultsError."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        with errors_as_usage():
            raise NoResultsError

    get_state = get_status = get_result = get_traceback = get_children = _refuse
    get_task_meta = get_task_meta_for = wait_for = wait_for_pending = get_many = _refuse
    ensure_chords_allowed = _refuse

    def forget(self, *_: Any, **__: Any) -> None:
        """There is nothing to forget."""
