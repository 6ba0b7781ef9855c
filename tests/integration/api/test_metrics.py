"""`/metrics`: what Prometheus reads, and that alert rules and dashboard name what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

import tasks
from domain.job import JobStatus
from tasks.api import readiness
from tests.support.services.http_api import HttpApi, samples
from worker.metrics.catalog import METRICS
from worker.runtime import Runtime

PAGES = Path(__file__).parents[3] / "docs" / "operations"
PAGE = (PAGES / "monitoring.md").read_text()
#: `seen_beat_age_seconds` is there when a beat has ticked.
WITHOUT_BEAT = {"seen_beat_age_seconds"}


def read(api: HttpApi) -> dict[tuple[str, str], float]:
    return samples(api.client("vic").get("/metrics").text)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bseen_[a-z_]+", text))


def test_jobs_are_counted_by_state_and_reason(api: HttpApi) -> None:
    before = read(api)
    queued, waiting = (api.job_of("ada", f"metrics-{n}") for n in range(2))
    runtime = api.system.runtime
    waiting_now = runtime.jobs.transition(
        waiting, JobStatus.PAUSED, now=runtime.now(), reason="test"
    )
    assert waiting_now is not None
    after = read(api)
    assert after["seen_jobs", "queued"] - before["seen_jobs", "queued"] == 1
    assert after["seen_jobs", "paused"] - before["seen_jobs", "paused"] == 1
    assert after["seen_queue_oldest_seconds", ""] > 0
    assert {label for name, label in after if name == "seen_jobs"} == set(JobStatus)
    tasks.cancel(queued.id, runtime=runtime)


def test_reasons_of_waiting_jobs(api: HttpApi) -> None:
    job = api.job_of("ada", "metrics-waiting")
    with api.system.runtime.database.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE jobs SET status='waiting', error_code='http_503' WHERE id='{job.id}'"
        )
    assert read(api)["seen_jobs_waiting", "http_503"] == 1


@pytest.mark.parametrize(("user", "status"), [("", 401), ("ada", 403), ("root", 200), ("vic", 200)])
def test_who_reads_metrics(api: HttpApi, user: str, status: int) -> None:
    assert api.client(user).get("/metrics").status_code == status


def test_openmetrics_is_negotiated(api: HttpApi) -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = api.client("vic").get("/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize(
    "version",
    [
        "abc",
        "v1",
        "1.0.0rc1",
        "99!1",
        "1.0.0+x",
        "-1",
        "",
        ".",
        "1..0",
        "1" * 5_000,
        "\xb2",
        "1;q=x",
    ],
)
def test_a_wrong_version_of_a_format_gets_a_valid_answer(
    api: HttpApi, kind: str, version: str
) -> None:
    """The header is anyone's, and prometheus_client raises errors for some."""
    accept = f"\x7f;;q=x, {kind};version={version}".encode("latin-1")
    answer = api.client("vic").get("/metrics", headers=[(b"Accept", accept)])
    assert answer.status_code == 200
    assert "seen_up" in answer.text


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def documented() -> dict[str, tuple[str, str]]:
    """Type and labels of each metric by its name, as the tables of the page have them."""
    lines = (line for line in PAGE.splitlines() if line.startswith("| `seen_"))
    rows = [[cell.strip().replace("`", "") for cell in line.split("|")[1:-1]] for line in lines]
    assert all(len(row) == 5 and row[3] and row[4] for row in rows)
    assert len({row[0] for row in rows}) == len(rows)
    return {name: (kind, labels) for name, kind, labels, *_ in rows}


def test_page_documents_every_metric_with_its_type_and_labels(api: HttpApi) -> None:
    api.system.downloads.mkdir(exist_ok=True)  # the first job makes it
    found = families(api.client("vic").get("/metrics").text)
    page = documented()
    there_are = {name + "_total" * (one.type == "counter") for name, one in found.items()}
    assert set(page) == there_are | WITHOUT_BEAT
    for name, family in found.items():
        kind, labels = page[name + "_total" * (family.type == "counter")]
        assert kind == family.type, name
        if name in METRICS:
            assert labels == ", ".join(METRICS[name].labels), name
        elif family.samples:
            assert labels == ", ".join(family.samples[0].labels), name


def test_rules_and_dashboard_name_samples_and_labels_that_there_are() -> None:
    expressions = {
        rule["expr"]
        for group in yaml.safe_load((PAGES / "monitoring" / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    panels = json.loads((PAGES / "monitoring" / "dashboard.json").read_text())["panels"]
    expressions |= {target["expr"] for panel in panels for target in panel["targets"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    page, used = documented(), set()
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    samples = {
        name + part: labels.split(", ") + ["le"] * (kind == "histogram")
        for name, (kind, labels) in page.items()
        for part in parts.get(kind, ("",))
    }
    for expression in expressions:
        names = names_in(expression)
        assert names, expression
        assert names <= set(samples), expression
        used |= names
        labels = {label for name in names for label in samples[name]}
        grouped = re.findall(r"\bby \(([^)]*)\)", expression)
        named = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
        assert {one.strip() for text in grouped for one in text.split(",")} <= labels, expression
        assert set(named) <= labels, expression
    unused = {name for name in page if not any(one.startswith(name) for one in used)}
    assert unused == set(), "each metric is in a rule or on the dashboard"


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("text/plain", text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", openmetrics),
    ],
)
def test_every_format_is_valid(api: HttpApi, accept: str, parse: Callable[[str], Any]) -> None:
    """prometheus_client checks names, types, and that buckets do not decrease."""
    api.job_of("ada", "formats")
    found = list(parse(api.client("vic").get("/metrics", headers={"Accept": accept}).text))
    assert {family.name for family in found} >= set(METRICS)
    for family in found:
        if family.type == "histogram":
            check_buckets(family.samples)


def check_buckets(samples: list[Any]) -> None:
    """Each series has buckets up to +Inf that do not decrease; the last one is the count."""
    series: dict[frozenset[tuple[str, str]], dict[str, float]] = {}
    for sample in samples:
        labels = frozenset((k, v) for k, v in sample.labels.items() if k != "le")
        key = sample.labels.get("le", sample.name.rpartition("_")[2])
        series.setdefault(labels, {})[key] = sample.value
    for values in series.values():
        count = values.pop("count")
        assert values.pop("sum") >= 0
        counts = [values[bound] for bound in sorted(values, key=float)]
        assert counts == sorted(counts)
        assert values["+Inf"] == count


def test_reading_metrics_checks_the_parts_once(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for each of many requests: `Readiness` keeps its answer for a second."""
    checks: list[int] = []

    def check(runtime: Runtime) -> list[readiness.Part]:
        checks.append(1)
        return [readiness.Part("beat", works=False, detail="")]

    monkeypatch.setattr(readiness, "examine", check)
    monkeypatch.setattr(readiness, "_FRESH", 600.0)
    monkeypatch.setattr(api.services.readiness, "_last", None)
    for _ in range(5):
        assert read(api)["seen_up", "beat"] == 0
        assert api.client().get("/readyz").json()["failed"] == ["beat"]
    assert len(checks) == 1


def test_statuses_that_origins_make_up_are_one_reason(api: HttpApi) -> None:
    for status in (597, 598):
        job = api.job_of("ada", f"metrics-{status}")
        with api.system.runtime.database.write() as connection:
            connection.exec_driver_sql(
                f"UPDATE jobs SET status='waiting', error_code='http_{status}' WHERE id='{job.id}'"
            )
    assert read(api)["seen_jobs_waiting", "http_5xx"] == 2
