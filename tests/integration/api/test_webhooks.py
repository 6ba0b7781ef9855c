"""Webhooks over HTTP: the caller's own, and the deliveries of the downloads that it sees."""

from __future__ import annotations

import tasks
from tests.support.services.http_api import HttpApi

HOOK = "https://hooks.example.org/seen?key=hush-hush"


def test_a_user_sets_changes_and_removes_its_webhook(api: HttpApi) -> None:
    ada, eve = api.client("ada"), api.client("eve")
    assert ada.get("/v1/webhook").json() == {"url": None}
    shown = ada.put("/v1/webhook", json={"url": HOOK}).json()
    assert shown == ada.get("/v1/webhook").json()
    assert "hooks.example.org" in shown["url"]
    assert "hush" not in shown["url"]
    assert eve.get("/v1/webhook").json() == {"url": None}
    assert ada.delete("/v1/webhook").status_code == 204
    assert ada.get("/v1/webhook").json() == {"url": None}


def test_wrong_webhooks_change_nothing(api: HttpApi) -> None:
    ada = api.client("ada")
    ada.put("/v1/webhook", json={"url": HOOK})
    before = ada.get("/v1/webhook").json()
    for url in (
        "ftp://example.org/",
        "x",
        "https://u:p@example.org/",
        "https://e.org/" + "a" * 9000,
    ):
        answer = ada.put("/v1/webhook", json={"url": url})
        assert answer.status_code == 422, url
        assert answer.json()["errors"]
    assert ada.put("/v1/webhook", json={}).status_code == 422
    assert ada.get("/v1/webhook").json() == before
    ada.delete("/v1/webhook")


def test_secret_is_the_callers_own_and_is_renewed(api: HttpApi) -> None:
    ada, eve = api.client("ada"), api.client("eve")
    first = ada.get("/v1/webhook/secret").json()["secret"]
    assert first.startswith("whsec_")
    assert ada.get("/v1/webhook/secret").json()["secret"] == first
    assert eve.get("/v1/webhook/secret").json()["secret"] != first
    assert ada.post("/v1/webhook/secret").json()["secret"] != first


def test_deliveries_are_listed_by_pages_and_sent_again(api: HttpApi) -> None:
    ada, eve = api.client("ada"), api.client("eve")
    jobs = [api.job_of("ada", f"hooked-{n}", webhook=HOOK) for n in range(3)]
    for job in jobs:
        tasks.cancel(job.id, runtime=api.system.runtime)
    page = ada.get("/v1/deliveries", params={"limit": 2}).json()
    rest = ada.get("/v1/deliveries", params={"limit": 2, "before": page["next_before"]}).json()
    found = [*page["deliveries"], *rest["deliveries"]]
    assert [one["job_id"] for one in found] == [job.id for job in reversed(jobs)]
    assert rest["next_before"] is None
    assert {(one["event"], one["state"]) for one in found} == {("cancelled", "pending")}
    assert "hush" not in str(found)
    (alone,) = ada.get("/v1/deliveries", params={"download_id": jobs[0].id}).json()["deliveries"]
    path = f"/v1/deliveries/{alone['id']}"
    assert ada.get(path).json() == alone
    assert ada.post(f"{path}/send").json()["state"] == "pending"
    assert eve.get("/v1/deliveries").json()["deliveries"] == []
    for answer in (eve.get(path), eve.post(f"{path}/send"), eve.get("/v1/deliveries/999999")):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_delivery")


def test_only_admins_have_a_webhook_in_this_network(api: HttpApi) -> None:
    ada, root = api.client("ada"), api.client("root")
    for url in (
        *("http://127.0.0.1:6379/", "http://2130706433/", "http://[::ffff:10.0.0.1]/"),
        *(
            "http://169.254.169.254/latest",
            "http://localhost./",
            "http://redis/",
            "http://x.internal/",
        ),
    ):
        refused = ada.put("/v1/webhook", json={"url": url})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), url
        assert ada.get("/v1/webhook").json() == {"url": None}
        assert root.put("/v1/webhook", json={"url": url}).status_code == 200
    root.delete("/v1/webhook")
