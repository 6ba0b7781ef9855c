"""What the keys of `seen watch` choose and request, by a table."""

from __future__ import annotations

import pytest

from cli.output.progress.row_choice import Order, RowChoice
from cli.watching.controls import Controls, JobRequest
from domain.job import Action
from domain.job import JobStatus as S
from tasks import JobView
from tests.support.inputs.job_views import job, live


def view(name: str, status: S, control: str | None = None, **progress: object) -> JobView:
    row = job(status, id=name, name=f"{name}.mkv", url=f"https://{name}.example/", control=control)
    return JobView.merge(row, live(2, job_id=name, **progress) if progress else None)


VIEWS = [
    view("queued", S.QUEUED),
    view("slow", S.DOWNLOADING, download_speed_mbps=1.0, bytes_total=9_000_000),
    view("quick", S.DOWNLOADING, download_speed_mbps=80.0, bytes_total=2_000_000),
    view("paused", S.PAUSED),
    view("pausing", S.DOWNLOADING, control="pause", download_speed_mbps=0.0),
    view("done", S.COMPLETED),
]


def press(*keys: str) -> tuple[Controls, list[JobRequest]]:
    controls = Controls()
    requests = [controls.press(key, VIEWS) for key in keys]
    return controls, [one for one in requests if one is not None]


@pytest.mark.parametrize(
    ("keys", "marked"),
    [
        ([], None),
        (["down"], "slow"),
        (["j", "j"], "quick"),
        (["up"], "paused"),
        (["down", "up"], "slow"),
        (["down"] * 20, "paused"),
        (["down", "escape"], None),
        (["/", *"zzz", "enter", "down"], None),
        (["down", "/", *"paused", "enter", "down"], "paused"),
    ],
)
def test_marking(keys: list[str], marked: str | None) -> None:
    assert press(*keys)[0].choice.marked == marked


def mark(name: str) -> list[str]:
    order = ["slow", "quick", "pausing", "queued", "paused"]
    return ["down"] * (order.index(name) + 1)


@pytest.mark.parametrize(
    ("keys", "requests"),
    [
        (["p"], []),
        (["c", "y"], []),
        ([*mark("slow"), "p"], [JobRequest(Action.PAUSE, "slow")]),
        ([*mark("queued"), "p"], [JobRequest(Action.PAUSE, "queued")]),
        ([*mark("paused"), "p"], [JobRequest(Action.RESUME, "paused")]),
        ([*mark("pausing"), "p"], [JobRequest(Action.RESUME, "pausing")]),
        ([*mark("slow"), "c"], []),
        ([*mark("slow"), "c", "y"], [JobRequest(Action.CANCEL, "slow")]),
        ([*mark("slow"), "c", "n", "y"], []),
        ([*mark("slow"), "c", "enter"], []),
        ([*mark("slow"), "c", "q"], []),
        ([*mark("slow"), "/", "p", "c", "y"], []),
        ([*mark("slow"), "/", *"queued", "enter", "p"], []),
        (["x", "é", "enter", "backspace", "?"], []),
    ],
)
def test_requests(keys: list[str], requests: list[JobRequest]) -> None:
    controls, made = press(*keys)
    assert made == requests
    assert not controls.has_left


def test_q_leaves() -> None:
    assert press("q")[0].has_left
    assert not press("/", "q")[0].has_left, "it is a letter of the filter"


@pytest.mark.parametrize(
    ("keys", "contains"),
    [
        (["/", *"qu"], "qu"),
        (["/", *"qu", "enter"], "qu"),
        (["/", *"quz", "backspace", "enter"], "qu"),
        (["/", "backspace", "backspace", "enter"], ""),
        (["/", *"qu", "escape"], ""),
        (["/", *"qu", "enter", "escape"], ""),
        (["/", *"qu", "enter", "/", "i"], "qui"),
        (["/", "up", "down", "Ж"], "Ж"),
        (["/", *"x" * 200], "x" * 100),
    ],
)
def test_filter_that_is_typed(keys: list[str], contains: str) -> None:
    assert press(*keys)[0].choice.contains == contains


@pytest.mark.parametrize(
    ("contains", "names"),
    [
        ("", ["slow", "quick", "pausing", "queued", "paused"]),
        ("QU", ["quick", "queued"]),
        ("slow.example", ["slow"]),
        ("downloading", ["slow", "quick", "pausing"]),
        ("none of them", []),
    ],
)
def test_filter_looks_at_name_url_and_state(contains: str, names: list[str]) -> None:
    assert [one.job.id for one in RowChoice(contains=contains).rows(VIEWS)] == names


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (Order.STATE, ["slow", "quick", "pausing", "queued", "paused"]),
        (Order.SPEED, ["quick", "slow", "queued", "paused", "pausing"]),
        (Order.TIME_LEFT, ["quick", "slow", "queued", "paused", "pausing"]),
        (Order.SIZE, ["slow", "quick", "pausing", "queued", "paused"]),
        (Order.NAME, ["paused", "pausing", "queued", "quick", "slow"]),
    ],
)
def test_order(order: Order, names: list[str]) -> None:
    assert [one.job.id for one in RowChoice(order).rows(VIEWS)] == names


def test_s_takes_each_order_in_turn() -> None:
    for number, order in enumerate([*Order, Order.STATE]):
        controls, _ = press(*["s"] * number)
        assert controls.choice.order is order
        assert f"sort: {order.value} " in controls.status


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (["p"], "↑ and ↓ mark a job first."),
        (["down", "c"], "Cancel slow.mkv? Its downloaded bytes are deleted. (y, n)"),
        (["down", "c", "n"], "It is not cancelled."),
        (["/", *"qu"], "filter: qu▏ (Enter keeps it, Escape removes it)"),
        (
            ["/", *"qu", "enter"],
            "↑ ↓ mark  p pause or resume  c cancel  s sort: state  / filter: qu  q leave",
        ),
    ],
)
def test_last_line(keys: list[str], status: str) -> None:
    assert press(*keys)[0].status == status
