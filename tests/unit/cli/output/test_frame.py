"""What a terminal shows of jobs, by a table of states and widths."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.output.progress.frame import frame
from cli.output.progress.screen import Screen
from cli.output.progress.totals import NOTHING, Totals
from cli.output.styled import Line, Style, plain
from cli.output.text_width import width
from domain.job import JobStatus as S
from tasks import JobView
from tests.support.inputs.job_views import job, live

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
WIDTHS = (20, 40, 80, 200)


def view(
    status: S, name: str, number: int = 1, progress: Mapping[str, Any] | None = None, **row: object
) -> JobView:
    """Return a job; `progress` is what the store has of it while it runs."""
    one = job(
        status, id=f"01a205a2-8d4a-7189-808b-{number:012x}", name=name, host="example.org", **row
    )
    if progress is None:
        return JobView.merge(one, None)
    return JobView.merge(one, live(2, **{"status": status, "job_id": one.id, **progress}))


def silent(seconds: float) -> dict[str, datetime]:
    return {"updated_at": NOW, "last_byte_at": NOW - timedelta(seconds=seconds)}


#: A job in each state, and what 20, 40, 80 and 200 columns show behind its name.
STATES: dict[str, tuple[JobView, tuple[str, str, str, str]]] = {
    "downloading": (
        view(S.DOWNLOADING, "a.mkv", progress={"bytes_total": 20_000_000}),
        (
            "7.5 %",
            "7.5 %   1.0 MB/s 18 s",
            "7.5 %    1.5 of 20.0 MB   1.0 MB/s 18 s",
            "7.5 %     1.5 of 20.0 MB    1.0 MB/s  18 s left",
        ),
    ),
    "unknown total": (
        view(S.DOWNLOADING, "a.mkv", progress={"bytes_total": None}),
        ("? %", "? %   1.0 MB/s", "? %            1.5 MB   1.0 MB/s", "1.5 MB    1.0 MB/s"),
    ),
    "slow and large": (
        view(
            S.DOWNLOADING,
            "a.mkv",
            progress={"bytes_total": 10**15, "download_speed_mbps": 0.008},
        ),
        ("0.0 %", "0.0 %   1.0 kB/s > 99 d", "0.0 of 1.0 PB   1.0 kB/s > 99 d", "> 99 d left"),
    ),
    "stalled": (
        view(S.DOWNLOADING, "a.mkv", progress=silent(12)),
        ("stalled", "75 % stalled for 12 s", "75.0 % stalled for 12 s", "75.0 %  stalled for 12 s"),
    ),
    "connecting": (
        view(S.DOWNLOADING, "a.mkv", progress={"bytes_downloaded": 0, "download_speed_mbps": 0}),
        ("connecting", "connecting", "connecting", "connecting"),
    ),
    "verifying": (
        view(S.VERIFYING, "a.mkv", progress={"bytes_downloaded": 2_000_000}),
        ("verifying", "100 % verifying", "100.0 % verifying", "100.0 %  verifying"),
    ),
    "pause requested": (
        view(S.DOWNLOADING, "a.mkv", progress={}, control="pause"),
        (
            "pausing",
            "75 % pausing",
            "75.0 % downloading (pause requested)",
            "75.0 %  downloading (pause requested)",
        ),
    ),
    "cancel requested": (
        view(S.DOWNLOADING, "a.mkv", progress={}, control="cancel"),
        ("cancelling", "cancelling", "(cancel requested)", "(cancel requested)"),
    ),
    "retry": (
        view(
            S.WAITING,
            "a.mkv",
            error_code="http_503",
            reason="The origin answered 503 Service Unavailable.",
            next_attempt_at=NOW + timedelta(seconds=36),
        ),
        (
            "retry 36 s",
            "retrying in 36 s",
            "retrying in 36 s",
            "retrying in 36 s: The origin answered 503 Service Unavailable.",
        ),
    ),
    "waiting for a slot": (
        view(S.WAITING, "a.mkv", error_code="host_busy", bytes_downloaded=0),
        (
            "waiting",
            "waiting for a slot",
            "waiting for a slot at example.org",
            "waiting for a slot at example.org",
        ),
    ),
    "disk full": (view(S.WAITING, "a.mkv", error_code="disk_full"), ("disk full",) * 4),
    "queued": (view(S.QUEUED, "a.mkv", bytes_downloaded=0), ("queued",) * 4),
    "paused": (
        view(S.PAUSED, "a.mkv", bytes_total=20),
        ("paused", "50 % paused", "50.0 % paused", "50.0 %  paused"),
    ),
}


@pytest.mark.parametrize(("one", "shown"), STATES.values(), ids=STATES.keys())
def test_each_state_looks_like_what_it_is(one: JobView, shown: tuple[str, ...]) -> None:
    for columns, text in zip(WIDTHS, shown, strict=True):
        (row,) = frame([one], columns, 24, NOW)
        assert plain(row).startswith("a.mkv ")
        assert plain(row).endswith(text), columns


NAMES = [
    "film.mkv",
    "A.Very.Long.Name.Of.A.Series.S01E07.1080p.WEB-DL.x265.mkv",
    "映画の長い名前のファイルです.mp4",
    "e\u0301" * 60 + ".bin",
    "שם ארוך מאוד של קובץ.mkv",
    "\u2764\ufe0f" * 30 + ".png",
    "\x1b[2J\x1b]0;owned\x07\r\nevil\u202e\u200b\x9b31m.bin",
    "x" * 255,
]


@pytest.mark.parametrize("columns", [*range(1, 45), 79, 80, 99, 100, 101, 200, 500])
def test_no_line_passes_the_last_column_but_one(columns: int) -> None:
    views = [
        JobView.merge(
            job(one.job.status, **{**_row(one), "id": f"{number:036x}", "name": name}),
            one.progress if one.progress.fence == 2 and one.status in {S.DOWNLOADING} else None,
        )
        for number, name in enumerate(NAMES)
        for one, _ in STATES.values()
    ]
    for line in frame(views, columns, 500, NOW, status="pausing … (Ctrl-C again leaves at once)"):
        assert width(plain(line)) <= columns - 1
        assert plain(line).isprintable()


def _row(one: JobView) -> dict[str, Any]:
    names = (
        "error_code",
        "reason",
        "next_attempt_at",
        "bytes_downloaded",
        "bytes_total",
        "control",
    )
    return {name: getattr(one.job, name) for name in names if hasattr(one.job, name)}


def test_narrow_terminal_keeps_percent_speed_and_time_left_and_shortens_the_name() -> None:
    for name in NAMES:
        one = view(S.DOWNLOADING, name, progress={"bytes_total": 20_000_000})
        (row,) = frame([one], 40, 24, NOW)
        assert re.fullmatch(r".{,30} 7\.5 %   1\.0 MB/s 18 s", plain(row))
    long = view(S.DOWNLOADING, NAMES[1], progress={"bytes_total": 20_000_000})
    assert plain(frame([long], 40, 24, NOW)[0]).startswith("A.Ver….mkv ")


def test_wide_terminal_uses_its_room() -> None:
    long = view(S.DOWNLOADING, NAMES[1], progress={"bytes_total": 20_000_000})
    (row,) = frame([long], 200, 24, NOW)
    assert plain(row).startswith(NAMES[1])
    assert plain(row).count("━") + plain(row).count("─") == 60


def bar(line: Line) -> list[tuple[str, Style]]:
    return [(part.text, part.style) for part in line if part.text and part.text[0] in "━─#."]


def test_done_part_of_a_bar_has_more_contrast_than_the_missing_one() -> None:
    (row,) = frame([view(S.DOWNLOADING, "a", progress={})], 80, 24, NOW)
    assert bar(row) == [("━" * 9, Style.PLAIN), ("─" * 4, Style.FAINT)]
    (row,) = frame([view(S.DOWNLOADING, "a", progress={})], 80, 24, NOW, symbols=False)
    assert bar(row) == [("#" * 9, Style.PLAIN), ("." * 4, Style.FAINT)]


def test_bar_is_full_only_when_every_byte_is_there() -> None:
    nearly = {"bytes_downloaded": 1_999_999}
    (row,) = frame([view(S.DOWNLOADING, "a", progress=nearly)], 80, 24, NOW)
    assert bar(row)[-1] == ("─", Style.FAINT)


def test_bar_of_an_unknown_total_moves() -> None:
    one = view(S.DOWNLOADING, "a", progress={"bytes_total": None})
    seen = {plain(frame([one], 80, 24, NOW + timedelta(seconds=s / 4))[0]) for s in range(40)}
    assert len(seen) == 12
    assert all(text.count("━") == 2 for text in seen)


def many(number: int) -> list[JobView]:
    states = (S.QUEUED, S.COMPLETED, S.WAITING, S.DOWNLOADING, S.QUEUED, S.FAILED, S.PAUSED)
    return [
        view(
            states[n % 7],
            f"file-{n:04}.bin",
            n,
            progress={} if states[n % 7] is S.DOWNLOADING else None,
            bytes_downloaded=0,
        )
        for n in range(number)
    ]


def test_running_jobs_come_first_and_those_without_room_are_counted() -> None:
    shown = [plain(line) for line in frame(many(1000), 80, 24, NOW)]
    assert len(shown) == 23
    assert shown[0].startswith("file-0003.bin")
    assert all(" MB/s " in line for line in shown[:20])
    assert shown[20] == "… and 694 more: 123 downloading, 143 waiting, 286 queued, 142 paused"
    assert (
        shown[21] == "143 running, 286 queued, 143 failed, 143 waiting, 142 paused, 143 completed"
    )
    assert shown[22] == "214.5 of over 286.0 MB, 143.0 MB/s"


@pytest.mark.parametrize("rows", range(1, 8))
def test_low_terminal_is_never_overfull(rows: int) -> None:
    shown = frame(many(50), 80, rows, NOW, status="pausing …")
    assert len(shown) == max(1, rows - 1)
    assert plain(shown[-1]) == "pausing …"


def test_one_job_has_no_sums_and_finished_jobs_have_no_row() -> None:
    assert len(frame([view(S.DOWNLOADING, "a", progress={})], 80, 24, NOW)) == 1
    two = [view(S.DOWNLOADING, "a", progress={}), view(S.COMPLETED, "b", 2, bytes_total=10)]
    row, sums = [plain(line) for line in frame(two, 80, 24, NOW)]
    assert row.startswith("a ")
    assert sums == "1 running, 1 completed; 1.5 of 2.0 MB, 1.0 MB/s, 0 s left"


def test_jobs_that_have_not_started_have_counts_only() -> None:
    two = [view(S.QUEUED, "a", bytes_downloaded=0), view(S.QUEUED, "b", 2, bytes_downloaded=0)]
    assert plain(frame(two, 80, 24, NOW)[-1]) == "2 queued"
    assert frame([view(S.COMPLETED, "a"), view(S.FAILED, "b", 2)], 80, 24, NOW) == []


def test_files_without_a_job_are_counted_and_make_the_sums_unknown() -> None:
    running = [view(S.DOWNLOADING, "a", progress={"bytes_total": 20_000_000})]
    assert plain(frame(running, 80, 24, NOW, to_come=98)[-1]) == (
        "1 running, 98 to come; 1.5 of over 20.0 MB, 1.0 MB/s, over 18 s left"
    )


def test_finished_jobs_that_are_not_shown_are_in_the_sums() -> None:
    running = [view(S.DOWNLOADING, "a", progress={"bytes_total": 20_000_000})]
    earlier = [view(S.COMPLETED, "b", bytes_downloaded=5, bytes_total=5), view(S.FAILED, "c")]
    shown = [
        plain(frame(some, 80, 24, NOW, ended=ended)[-1])
        for some, ended in ((running, Totals.of(earlier)), ([*running, *earlier], NOTHING))
    ]
    assert shown[0] == shown[1]
    assert shown[0].startswith("1 running, 1 failed, 1 completed; ")


def test_sums_of_narrow_terminals() -> None:
    views = many(14)
    for columns, shown in {
        20: ["2 running, 4 queued", "2.0 MB/s"],
        40: ["2 running, 4 queued, 2 failed", "3.0 of over 4.0 MB, 2.0 MB/s"],
    }.items():
        assert [plain(line) for line in frame(views, columns, 24, NOW)][-2:] == shown


def test_display_of_a_thousand_jobs_costs_little() -> None:
    views = many(1000)
    screen = Screen(io.StringIO(), colour=True)
    start = time.process_time()
    for tick in range(10):
        screen.update([], frame(views, 80, 24, NOW + timedelta(seconds=tick)))
    # Five times a second this would be a quarter of one processor; it takes a fifth of that.
    assert (time.process_time() - start) / 10 < 0.05
