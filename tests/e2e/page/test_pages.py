"""The page's other views, and what each state looks like, in a real browser; no worker runs here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import update

from api.routes import page as routes
from database.models import webhook_deliveries
from domain.job import Job, JobStatus
from domain.remedies.disks import DISK_SILENT, silence
from tests.support.page.world import FLOWER, PATIENCE, PageWorld, page_world, row, violations
from tests.support.services import operations
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

expect.set_options(timeout=PATIENCE)
S = JobStatus


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer
) -> Iterator[PageWorld]:
    folder = tmp_path_factory.mktemp("pages")
    with page_world(folder, _shared_store, has_workers=False) as world:
        yield world


def fail(world: PageWorld, job: Job, reason: str, code: str = "http_404") -> None:
    """End a job as an attempt does."""
    runtime = world.api.system.runtime
    claimed = operations.claim(runtime.jobs, job.id, worker="downloads@test", now=runtime.now())
    assert claimed is not None
    changes = {"error_code": code}
    runtime.jobs.transition(claimed, S.FAILED, now=runtime.now(), reason=reason, changes=changes)


# ── what each state looks like ──────────────────────────────────────────────────────────────────

RUNS = {"status": "downloading", "bytes_downloaded": 500_000}
KNOWN = {"bytes_total": 1_000_000, "progress_percent": 50.0}
WAITS = {"status": "waiting", "host": "example.org", "user_id": "ada"}
SILENT = {"error_code": DISK_SILENT, "reason": silence("/mnt/disk")}
AT = "2026-01-01T00:00:"
#: What differs from a queued job, and what is shown.
LOOKS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "queued": ({}, {"label": "Queued", "tone": "idle", "bar": None}),
    "downloading": (
        RUNS | KNOWN | {"speed_mbps": 8.0, "eta_seconds": 75},
        {"label": "Downloading", "tone": "run", "bar": 50, "amount": "500.0 kB of 1.0 MB"}
        | {"percent": "50 %"}
        | {"speed": "1.0 MB/s", "eta": "1 min 15 s"},
    ),
    "nearly whole": (RUNS | KNOWN | {"progress_percent": 99.97}, {"percent": "99 %"}),
    "unknown total": (
        RUNS | {"speed_mbps": 8.0},
        {"label": "Downloading", "bar": "unknown", "amount": "500.0 kB", "eta": "", "percent": ""}
        | {"detail": "its size is unknown"},
    ),
    "stalled": (
        RUNS | KNOWN | {"speed_mbps": 1.0, "last_byte_at": AT + "00Z", "updated_at": AT + "12Z"},
        {"label": "Stalled", "tone": "warn", "detail": "no data for 12 s", "speed": "", "eta": ""},
    ),
    "not yet stalled": (
        RUNS | KNOWN | {"last_byte_at": AT + "00Z", "updated_at": AT + "04Z"},
        {"label": "Downloading", "tone": "run"},
    ),
    "disk silent": (
        RUNS | KNOWN | SILENT | {"speed_mbps": 1.0, "eta_seconds": 9},
        {"label": "Disk does not answer", "tone": "bad", "detail": SILENT["reason"]}
        | {"bar": 50, "speed": "", "eta": ""},
    ),
    "disk silent while verifying": (
        {"status": "verifying"} | KNOWN | SILENT,
        {"label": "Disk does not answer", "tone": "bad", "detail": SILENT["reason"]},
    ),
    "pausing on a silent disk": (
        RUNS | KNOWN | SILENT | {"control": "pause"},
        {"label": "Pausing", "detail": SILENT["reason"]},
    ),
    "pausing": (RUNS | KNOWN | {"control": "pause"}, {"label": "Pausing"}),
    "cancelling": (RUNS | KNOWN | {"control": "cancel"}, {"label": "Cancelling"}),
    "verifying": ({"status": "verifying"} | KNOWN, {"label": "Verifying", "tone": "run"}),
    "retrying": (
        WAITS
        | {"waiting_for": "retry", "attempts": 2, "max_attempts": 8, "reason": "It broke."}
        | {"next_attempt_at": AT + "30Z"},
        {"label": "Retrying", "tone": "warn"}
        | {"detail": "in 20 s; attempt 2 of 8 failed: It broke."},
    ),
    "waiting for a slot of the host": (
        WAITS | {"waiting_for": "host_slot"},
        {"label": "Waiting", "tone": "idle", "detail": "for a free slot of example.org"},
    ),
    "waiting for the host's cooldown": (
        WAITS | {"waiting_for": "host_cooldown"},
        {"label": "Waiting", "detail": "until example.org takes requests again"},
    ),
    "waiting for a slot of the owner": (
        WAITS | {"waiting_for": "user_slot"},
        {"label": "Waiting", "detail": "for a free slot of ada"},
    ),
    "disk full": (
        WAITS | {"waiting_for": "disk_space"},
        {"label": "Disk full", "tone": "bad"}
        | {"detail": "continues when the worker's disk has room"},
    ),
    "disk unavailable": (
        WAITS | {"waiting_for": "disk"},
        {"label": "Disk unavailable", "tone": "bad"},
    ),
    "part file locked": (WAITS | {"waiting_for": "part_file"}, {"label": "Waiting"}),
    "worker without resources": (WAITS | {"waiting_for": "worker_resources"}, {"label": "Waiting"}),
    "of a later version": (WAITS | {"waiting_for": "the_moon"}, {"label": "Retrying"}),
    "paused": (
        {"status": "paused", "bytes_downloaded": 5} | KNOWN,
        {"label": "Paused", "tone": "idle", "bar": 50, "speed": ""},
    ),
    "completed": (
        {"status": "completed", "bytes_total": 5, "path": "/d/a.bin"},
        {"label": "Completed", "tone": "good", "bar": None, "amount": "5 B", "speed": ""},
    ),
    "failed": (
        {"status": "failed", "reason": "Gone.", "control": "pause"},
        {"label": "Failed", "tone": "bad", "detail": "Gone.", "bar": None},
    ),
    "cancelled": ({"status": "cancelled"}, {"label": "Cancelled", "tone": "idle", "bar": None}),
    "state of a later version": ({"status": "sleeping"}, {"label": "sleeping", "tone": "idle"}),
}
_NULL = (
    *("waiting_for", "next_attempt_at", "host", "user_id", "control", "reason", "error_code"),
    *(
        "finished_at",
        "bytes_total",
        "progress_percent",
        "eta_seconds",
        "path",
        "updated_at",
        "last_byte_at",
    ),
)


@pytest.mark.parametrize("name", LOOKS)
def test_a_state_looks_like_what_it_is(context: BrowserContext, name: str) -> None:
    changes, expected = LOOKS[name]
    job = {"status": "queued", "bytes_downloaded": 0, "speed_mbps": 0.0, "attempts": 0}
    job |= {"max_attempts": 5, **dict.fromkeys(_NULL), **changes}
    shown = context.pages[0].evaluate(
        "([path, job, now]) => import(path).then(words => words.describe(job, Date.parse(now)))",
        [f"/page/{routes.page().version}/words.js", job, AT + "10Z"],
    )
    assert {key: shown[key] for key in expected} == expected


# ── the views ───────────────────────────────────────────────────────────────────────────────────


def test_a_download_has_its_life_and_what_to_do(world: PageWorld, page: Page) -> None:
    job = world.api.job_of("root", "life.bin", name="life.bin", directory="films")
    page.goto(f"{world.url}#/job/{job.id}")
    expect(page.get_by_role("heading", name="life.bin")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".timeline li").nth(1)).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_label("Priority").select_option("low")
    expect(page.locator(".facts")).to_contain_text("low")
    fail(world, world.api.system.job(job), "The origin answered 404 Not Found.")
    expect(page.locator(".now")).to_contain_text("The origin answered 404 Not Found.")
    expect(page.locator(".remedy")).to_have_text("Check the URL.")
    expect(page.locator(".timeline li").last).to_contain_text("failed")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".now")).to_contain_text("Queued")


def test_an_unknown_download_says_so(world: PageWorld, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{world.url}#/job/0197a2f0-3c5a-7d10-8b00-5f1c0a9e4d21")
    expect(page.get_by_text("There is no job")).to_be_visible()
    page.close()


def test_finished_downloads_are_listed_by_their_end(world: PageWorld, page: Page) -> None:
    first, second = (world.api.job_of("root", f"{n}.end", name=f"{n}.end") for n in (1, 2))
    page.get_by_role("button", name="Failed").click()
    found = page.locator(".rows .name a")
    for job in (second, first):
        fail(world, job, "Gone.")
        expect(row(page, job.name or "")).to_be_visible()
    expect(found.first).to_have_text("2.end")
    page.get_by_label("Sort").select_option("ended")
    expect(found.first).to_have_text("1.end")
    third = world.api.job_of("root", "3.end", name="3.end")
    fail(world, third, "Gone.")
    expect(found.first).to_have_text("3.end")
    row(page, "3.end").get_by_role("button", name="Retry").click()
    expect(row(page, "3.end")).to_have_count(0)
    page.get_by_role("searchbox").fill(".end")  # a search has an order of its own
    expect(found.first).to_have_text("2.end")


def test_health_names_what_does_not_work_and_what_to_do(world: PageWorld, page: Page) -> None:
    page.get_by_role("link", name="Health").click()
    workers = page.locator(".parts tr", has_text="workers")
    expect(workers).to_contain_text("does not work")
    expect(workers.locator(".remedy")).to_contain_text("seen worker")
    expect(page.locator(".parts tr", has_text="database")).to_contain_text("works")
    expect(page.get_by_role("link", name="Flower")).to_have_attribute("href", FLOWER)


def test_admins_manage_users_and_keys(world: PageWorld, page: Page) -> None:
    page.get_by_role("link", name="Admin").click()
    users = page.locator("form", has=page.get_by_role("button", name="Add the user"))
    users.get_by_label("Name").fill("grace")
    users.get_by_role("button").click()
    line = page.locator("tr", has=page.get_by_role("rowheader", name="grace"))
    line.get_by_role("button", name="Sign-in link").click()
    link = page.locator(".secret code").inner_text()
    other = world.context().new_page()
    other.goto(link)
    expect(other.locator(".user summary")).to_have_text("grace")
    assert other.get_by_role("link", name="Admin").count() == 0
    line.get_by_role("button", name="Disable").click()
    line.get_by_role("button", name="Ends its keys").click()
    expect(line).to_contain_text("disabled")
    other.reload()
    expect(other.get_by_label("API key")).to_be_visible()
    other.context.close()
    keys = page.locator("form", has=page.get_by_role("button", name="Make a key"))
    keys.get_by_label("User").fill("eve")
    keys.get_by_label("What it is for").fill("a test")
    keys.get_by_role("button").click()
    expect(page.locator(".secret")).to_contain_text("The new key of eve")
    made = page.locator("tr", has_text="a test")
    made.get_by_role("button", name="Revoke").click()
    made.get_by_role("button", name="Revoke it for good").click()
    expect(made).to_contain_text("revoked")


def test_admins_send_a_delivery_again(world: PageWorld, page: Page) -> None:
    hook = "https://hooks.example.org/seen"
    job = world.api.job_of("ada", "hooked.bin", name="hooked.bin", webhook=hook)
    fail(world, job, "Gone.")
    with world.api.system.runtime.database.write() as connection:
        connection.execute(update(webhook_deliveries).values(state="given_up"))
    page.get_by_role("link", name="Admin").click()
    delivery = page.locator("tr", has_text="hooks.example.org")
    expect(delivery).to_contain_text("given up")
    delivery.get_by_role("button", name="Send again").click()
    expect(delivery).to_contain_text("pending")
    expect(page.locator(".toast")).to_contain_text("It is sent again.")
    delivery.get_by_role("link").click()
    expect(page.get_by_role("heading", name="hooked.bin")).to_be_visible()
    ended = page.locator(".facts time").last
    assert ended.get_attribute("title") != ended.inner_text()  # the zone is in the title


def test_limits_are_set_and_removed(page: Page) -> None:
    page.get_by_role("button", name="Limits").click()
    page.get_by_label("Host").fill("example.org")
    page.get_by_role("textbox", name="Limit").fill("2.5 MB/s")
    page.get_by_role("button", name="Set the rate").click()
    line = page.locator("dialog tr", has_text="example.org")
    expect(line).to_contain_text("2.5 MB/s")
    line.get_by_role("button", name="Remove").click()
    expect(line).to_have_count(0)
    page.get_by_role("textbox", name="Limit").fill("fast")
    page.get_by_role("button", name="Set the rate").click()
    expect(page.locator("dialog .problems")).to_contain_text("“fast” is no rate")
    page.get_by_label("Downloads at once").fill("20")
    page.get_by_role("button", name="Set the number").click()
    at_once = page.locator("dialog tr", has_text="Downloads at once")
    expect(at_once).to_contain_text("20")
    at_once.get_by_role("button", name="Remove").click()
    expect(at_once).to_contain_text("none")


# ── for all ─────────────────────────────────────────────────────────────────────────────────────

MARKUP = "<img/src=x/onerror=alert(1)><script>window.broken=1</script>"


def test_markup_of_others_is_text(world: PageWorld, page: Page) -> None:
    """In the URL, the name, the folder, a header's name, and the reason of a failure."""
    job = world.api.system.submit(
        f"https://example.org/{MARKUP}?q={MARKUP}",
        name="<b onmouseover=alert(1)>bold",
        directory="<i>folder",
        headers={"x-b": MARKUP},
        user_id="root",
    )
    fail(world, job, f"It said {MARKUP}")
    name = "<b onmouseover=alert(1)>bold"
    expect(row(page, name)).to_contain_text(f"It said {MARKUP}")
    page.goto(f"{world.url}#/job/{job.id}")
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator(".timeline li").last).to_contain_text(MARKUP)
    assert page.locator("main img, main script, main b[onmouseover], main i").count() == 0
    assert page.evaluate("window.broken === undefined")


VIEWS = ("#/", "#/health", "#/admin", "job", "add", "help", "limits", "sign-in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380])
def test_nothing_serious_is_found_by_axe(world: PageWorld, scheme: str, width: int) -> None:
    name = f"axe-{scheme}-{width}.bin"
    job = world.api.job_of("root", name, name=name)
    fail(world, job, "The origin answered 404 Not Found.")
    page = world.signed_in(color_scheme=scheme, viewport={"width": width, "height": 800})
    expect(row(page, name)).to_be_visible()
    found = {}
    for view in VIEWS:
        show(world, page, view, job)
        found[view] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    assert not any(found.values()), json.dumps(found, indent=1)
    page.context.close()


def show(world: PageWorld, page: Page, view: str, job: Job) -> None:
    """Go to a view, and wait until it has what it shows."""
    if page.locator("dialog").count():
        page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    if view == "sign-in":
        page.locator(".user summary").click()
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_label("API key")).to_be_visible()
    elif view == "job":
        page.goto(f"{world.url}#/job/{job.id}")
        expect(page.locator(".timeline li").first).to_be_visible()
    elif view.startswith("#"):
        page.goto(world.url + view)
        expect(
            page.locator({"#/": ".rows .row"}.get(view, ".plain tbody tr")).first
        ).to_be_visible()
    else:
        page.goto(world.url + "#/")
        expect(page.locator(".grid")).to_be_visible()
        if view == "limits":
            page.get_by_role("button", name="Limits").click()
        else:
            page.keyboard.press({"add": "a", "help": "?"}[view])
        expect(page.locator("dialog")).to_be_visible()
        expect(page.locator("dialog table, dialog form").first).to_be_visible()


def test_ends_are_spoken_and_not_one_by_one(world: PageWorld, page: Page) -> None:
    page.evaluate(
        """() => {
            window.spoken = [];
            const region = document.querySelector(".unseen[aria-live=polite]");
            const note = () => window.spoken.push([Date.now(), region.textContent]);
            const changes = {childList: true, characterData: true, subtree: true};
            new MutationObserver(note).observe(region, changes);
        }"""
    )
    jobs = [world.api.job_of("root", f"spoken-{n}.bin", name=f"spoken-{n}.bin") for n in range(12)]
    expect(row(page, "spoken-11.bin")).to_be_visible()
    for job in jobs:
        fail(world, job, "Gone.")
    expect(row(page, "spoken-11.bin")).to_contain_text("Failed")
    count = "() => window.spoken.reduce((sum, [, text]) => sum + (parseInt(text) || 1), 0)"
    wait_until(lambda: page.evaluate(count) >= len(jobs), deadline=60, what="all are spoken")
    times = [at for at, _ in page.evaluate("window.spoken")]
    assert len(times) <= (times[-1] - times[0]) / 5_000 + 2  # one in five seconds
