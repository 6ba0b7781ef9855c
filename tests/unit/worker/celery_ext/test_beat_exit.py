"""A signal ends beat also where Python cannot raise: in a callback of a weak reference."""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Callable

import pytest

from worker.celery_ext import scheduler


class Referred:
    """Something that can be referred to weakly."""


def call_where_nothing_can_be_raised(work: Callable[[], object]) -> None:
    referred = Referred()
    reference = weakref.ref(referred, lambda _: work())
    del referred
    assert reference() is None


def fail() -> None:
    raise ValueError("a fault")


def test_an_exit_that_is_lost_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = threading.Event()
    monkeypatch.setattr(scheduler, "_stop_requested", requested)
    monkeypatch.setattr(sys, "unraisablehook", scheduler._report_lost_exception)
    call_where_nothing_can_be_raised(lambda: scheduler._stop(signal.SIGTERM, None))
    assert requested.is_set()
    assert capsys.readouterr().err == ""
    call_where_nothing_can_be_raised(fail)
    assert "ValueError: a fault" in capsys.readouterr().err
