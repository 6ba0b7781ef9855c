"""`/metrics`: what Prometheus reads, and that alert rules and dashboard name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import tasks
from domain.job import JobStatus
from tests.support.services.http_api import HttpApi, samples

PAGES = Path(__file__).parents[3] / "docs" / "operations"
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
    plain = api.client("vic").get("/metrics", headers={"Accept": "\x7f;;q=x"})
    assert plain.headers["content-type"].startswith("text/plain")


def test_rules_dashboard_and_page_name_metrics_that_there_are(api: HttpApi) -> None:
    api.system.downloads.mkdir(exist_ok=True)  # the first job makes it
    text = api.client("vic").get("/metrics").text
    there_are = {family.name for family in text_string_to_metric_families(text)} | WITHOUT_BEAT
    rules = (PAGES / "monitoring" / "alerts.yml").read_text()
    dashboard = (PAGES / "monitoring" / "dashboard.json").read_text()
    expressions = {
        rule["expr"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]
    }
    expressions |= {
        target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]
    }
    for expression in expressions:
        assert names_in(expression), expression
        assert names_in(expression) <= there_are, expression
    documented = names_in((PAGES / "monitoring.md").read_text())
    assert documented == there_are
