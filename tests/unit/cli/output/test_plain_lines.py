"""Progress in a file or pipe: few lines, no control sequences; and the end line."""

from __future__ import annotations

import pytest

from cli.output.progress import endings
from cli.output.progress.plain_lines import PlainLines
from cli.output.progress.program_output import JsonLines, NoProgress, Quiet
from cli.output.progress.summary import Summary
from cli.output.progress.totals import Totals
from domain.job import JobStatus as S
from domain.remedies.disks import DISK_SILENT, silence
from tasks import JobView
from tests.support.inputs.job_views import job, live


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def view(status: S, **changes: object) -> JobView:
    return JobView.merge(job(status, **changes), None)


def running(count: int, job_id: str = "1", **changes: object) -> JobView:
    progress = live(2, job_id=job_id, bytes_downloaded=count, bytes_total=20_000_000, **changes)
    return JobView.merge(job(S.DOWNLOADING, id=job_id), progress)


def test_job_has_a_line_when_it_starts_waits_pauses_and_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = PlainLines()
    waiting = view(S.WAITING, error_code="http_503", reason="The origin answered 503.")
    for one in (
        *(view(S.QUEUED), running(0), running(0), waiting, waiting),
        *(running(5), view(S.PAUSED), view(S.COMPLETED, path="/tmp/film.mkv")),
    ):
        lines.show([one])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "film.mkv: started",
        "film.mkv: retrying now. The origin answered 503.",
        "film.mkv: paused",
        "film.mkv: 10 B → /tmp/film.mkv",
    ]
    assert not printed.err


def test_job_whose_disk_hangs_has_a_line_and_one_when_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, why = PlainLines(), silence("/mnt/disk")
    hanging = running(5, error_code=DISK_SILENT, reason=why)
    for one in (running(5), hanging, hanging, running(6)):
        lines.show([one])
    assert capsys.readouterr().out.splitlines() == [
        "film.mkv: started",
        f"film.mkv: disk does not answer. {why}",
        "film.mkv: 1.0 MB/s, 20 s left",
    ]


def test_failure_is_printed_once_and_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    failed = view(
        S.FAILED, error_code="http_404", reason="The origin answered 404 Not\x1b[2J Found."
    )
    for display in (PlainLines(), NoProgress(), Quiet()):
        display.show([failed])
        display.show([failed])
        display.close()
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err == (
            "seen: film.mkv: failed: The origin answered 404 Not\ufffd[2J Found. Check the URL.\n"
        )


def test_progress_lines_become_rarer(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = PlainLines(clock)
    for second in range(300):
        clock.now = 100.0 + second
        lines.show([running(1_000_000 + second * 1000)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "film.mkv: started"
    assert printed[1] == "film.mkv: 1.0 of 20.0 MB (5.0 %), 1.0 MB/s, 19 s left"
    assert 10 <= len(printed) <= 18


def test_several_jobs_share_one_progress_line_and_none_repeats_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    lines = PlainLines(clock)
    views = [running(1_000_000, "1"), running(3_000_000, "2")]
    lines.show(views)
    for second in range(1, 100):
        clock.now = 100.0 + second
        lines.show(views)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "2 running; 4.0 of 40.0 MB, 2.0 MB/s, 18 s left"
    ]


def test_quiet_prints_errors_only_and_json_a_line_for_each_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet, json_lines = Quiet(), JsonLines()
    for display in (quiet, json_lines):
        display.status("pausing …")
        display.note("continuing an earlier download")
        display.show([running(1)])
        display.show([running(1)])
        display.end("1 file")
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert '"status": "downloading"' in printed.out
    assert printed.err == "seen: pausing …\nseen: continuing an earlier download\n"


def completed(size: int, job_id: str = "1") -> JobView:
    return view(S.COMPLETED, id=job_id, bytes_downloaded=size, bytes_total=size)


@pytest.mark.parametrize(
    ("is_new", "first", "last", "shown"),
    [
        (
            True,
            [completed(200_000_000)],
            [completed(200_000_000)],
            "1 file, 200.0 MB in 4.0 s, on average 50.0 MB/s",
        ),
        (
            False,
            [running(12_000_000)],
            [completed(20_000_000)],
            "1 file, 20.0 MB, 8.0 MB of them in 4.0 s, on average 2.0 MB/s",
        ),
        (
            True,
            [running(0), view(S.QUEUED, id="2", bytes_downloaded=0)],
            [completed(20_000_000), view(S.FAILED, id="2")],
            "1 of 2 files, 20.0 MB in 4.0 s, on average 5.0 MB/s; 1 failed",
        ),
        (
            True,
            [running(0)],
            [view(S.PAUSED, id="1", bytes_downloaded=8_000_000)],
            "0 of 1 file, 8.0 MB in 4.0 s, on average 2.0 MB/s; 1 paused",
        ),
        (True, [running(0)], [view(S.FAILED, id="1", bytes_downloaded=0)], ""),
        (
            True,
            [completed(0), completed(0, "2")],
            [completed(0), completed(0, "2")],
            "2 files in 4.0 s",
        ),
    ],
)
def test_end_line(is_new: bool, first: list[JobView], last: list[JobView], shown: str) -> None:
    clock = Clock()
    summary = Summary({one.job.id: 0 for one in first} if is_new else {}, clock=clock)
    summary.add(first)
    clock.now += 4
    summary.add(last)
    assert summary.text(Totals.of(last)) == shown


def test_jobs_that_are_submitted_later_and_files_without_a_job() -> None:
    clock, stored = Clock(), {"1": 0}
    summary = Summary(stored, clock=clock)
    summary.add([running(1_000_000, "1")])
    stored["2"] = 0
    clock.now += 2
    views = [completed(6_000_000, "1"), completed(4_000_000, "2")]
    summary.add(views)
    assert summary.text(Totals.of(views, to_come=3)) == (
        "2 of 5 files, 10.0 MB in 2.0 s, on average 5.0 MB/s; 3 not started"
    )


def test_bytes_that_arrive_before_the_first_look_at_a_continued_job_count() -> None:
    clock = Clock()
    summary = Summary({"1": 2_000_000}, clock=clock)
    clock.now += 4
    views = [view(S.PAUSED, id="1", bytes_downloaded=4_000_000)]
    summary.add(views)
    assert summary.text(Totals.of(views)) == (
        "0 of 1 file, 4.0 MB, 2.0 MB of them in 4.0 s, on average 500.0 kB/s; 1 paused"
    )


def test_bytes_that_were_fetched_again_count_again() -> None:
    clock = Clock()
    summary = Summary({"1": 0}, clock=clock)
    for count in (5_000_000, 1_000_000, 20_000_000):
        summary.add([running(count)])
    clock.now += 5
    assert "on average 5.0 MB/s" in summary.text(Totals.of([completed(20_000_000)]))


def test_of_many_jobs_failures_are_named_up_to_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    lines, failures = PlainLines(clock=Clock()), endings._MOST_FAILURES + 20
    for number in range(failures):
        lines.show([view(S.FAILED, id=str(number), reason="It is gone.")])
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == endings._MOST_FAILURES + 1
    assert "`seen list --status failed` names them" in printed[-1]
