"""The live page in Chromium beside few and many jobs: its first requests, first rows, and frames.

Frames are those of a list that is scrolled from its first row to its last, by one screen a frame. A
frame's time is that between two calls of `requestAnimationFrame`, on a machine that has other work, too.
What of it the page itself took is the processor time of the main thread, from the browser's trace.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from playwright.sync_api import Browser, Page

from bench.http.served import Served, served
from bench.http.traces import CATEGORIES, main_thread_milliseconds
from bench.report import Figure, percentile, show
from bench.scale.jobs import Numbers, fill, settle
from domain.access import Principal
from tasks.api import accounts
from tests.support.page.browser import chromium

FEW, MANY = 100, 100_000
_READS = 20
_LOADS = 5
#: Milliseconds for all of it to be scrolled through.
_LONG = 1_200_000
#: What the page asks for first; of the stream, the first event counts.
_FIRST = ("/", "/v1/session", "/v1/downloads?sort=newest&limit=200", "/v1/totals")
_STREAM = "/v1/events?limit=200"

#: Notes when the first row is in the document.
_NOTE_ROWS = """
new MutationObserver((_changes, observer) => {
  if (!document.querySelector(".rows .row")) return;
  observer.disconnect();
  requestAnimationFrame(() => (window.rowsAt = performance.now()));
}).observe(document, {childList: true, subtree: true});
"""
_ROWS_AT = """
() => new Promise((resolve) => {
  const look = () => (window.rowsAt ? resolve(window.rowsAt) : requestAnimationFrame(look));
  look();
})
"""
#: Scrolls to the end; returns the milliseconds of frames and of long tasks, and the most rows drawn.
_SCROLL = """
(wanted) => new Promise((resolve) => {
  const grid = document.querySelector(".grid");
  const rows = grid.querySelector(".rows");
  const found = {frames: [], long: [], most: 0, seen: 0};
  const observer = new PerformanceObserver((list) => {
    for (const one of list.getEntries()) found.long.push(one.duration);
  });
  observer.observe({type: "longtask"});
  let before = null;
  const step = (now) => {
    if (before !== null) found.frames.push(now - before);
    before = now;
    grid.scrollTop += grid.clientHeight;
    found.most = Math.max(found.most, rows.childElementCount);
    const last = rows.lastElementChild;
    found.seen = Math.max(found.seen, last ? Number(last.getAttribute("aria-rowindex")) - 1 : 0);
    if (found.seen < wanted) requestAnimationFrame(step);
    else resolve(found);
  };
  requestAnimationFrame(step);
})
"""


def main(arguments: list[str]) -> None:
    """Measure; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m bench page", description=__doc__, epilog="Quick: --jobs 2000"
    )
    parser.add_argument(
        "--jobs", type=int, default=MANY, help="beside 100; 90 %% of them have ended"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = []
    with chromium() as browser:
        for jobs in (FEW, options.jobs):
            figures += _measured(browser, jobs)
    show("page", figures, as_json=options.json)


def _measured(browser: Browser, jobs: int) -> list[Figure]:
    numbers = Numbers(ended=jobs * 9 // 10, queued=jobs // 10, waiting=0, paused=0, running=0)
    with served() as api:
        fill(api.system.runtime.database, numbers, now=api.system.runtime.now())
        settle(api.system.runtime.database)
        requests = _requests(api, jobs)
        with _signed_in(browser, api) as page:
            return [*requests, *_first_rows(page, jobs), *_frames(browser, page, jobs)]


# ── the service ─────────────────────────────────────────────────────────────────────────────────


def _requests(api: Served, jobs: int) -> list[Figure]:
    """Measure what a page asks for first: of a service that has just started, and later."""
    with api.client(api.new_key("bench")) as client:
        times = [_first_requests(client) for _ in range(_READS)]
    what = f"the service's time for the first requests, {jobs:,} jobs"
    return [
        Figure(f"{what}: right after its start", times[0] * 1000, "ms", "300"),
        Figure(f"{what}: median", percentile(times[1:], 0.5) * 1000, "ms", "300"),
    ]


def _first_requests(client: httpx.Client) -> float:
    began = time.monotonic()
    for path in _FIRST:
        client.get(path).raise_for_status()
    with client.stream("GET", _STREAM) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                break
        return time.monotonic() - began


# ── the browser ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _signed_in(browser: Browser, api: Served) -> Iterator[Page]:
    link = accounts.create_link(Principal.local(), "bench", runtime=api.system.runtime)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(_NOTE_ROWS)
    page.set_default_timeout(_LONG)
    page.goto(f"{api.url}/#/sign-in/{link.token}")
    page.locator(".rows .row").first.wait_for()
    try:
        yield page
    finally:
        context.close()


def _first_rows(page: Page, jobs: int) -> list[Figure]:
    """Measure the page when it is opened again, as it mostly is: the browser has kept its files."""
    paints, rows = [], []
    for _ in range(_LOADS):
        page.reload()
        page.locator(".rows .row").first.wait_for()
        rows.append(page.evaluate(_ROWS_AT))
        paints.append(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
    return [
        Figure(f"first paint, {jobs:,} jobs: median", percentile(paints, 0.5), "ms"),
        Figure(f"first rows, {jobs:,} jobs: median", percentile(rows, 0.5), "ms"),
    ]


def _frames(browser: Browser, page: Page, jobs: int) -> list[Figure]:
    """Measure scrolling through all rows, while pages of them are read."""
    browser.start_tracing(page=page, categories=list(CATEGORIES))
    found: dict[str, Any] = page.evaluate(_SCROLL, jobs)
    tasks = main_thread_milliseconds(browser.stop_tracing())
    what = f"a frame while {jobs:,} rows pass"
    return [
        Figure(f"{what}: median", percentile(found["frames"], 0.5), "ms"),
        Figure(f"{what}: p99", percentile(found["frames"], 0.99), "ms", "50"),
        Figure(f"{what}: longest", max(found["frames"]), "ms", "50"),
        Figure("CPU of the main thread in a frame: p99", percentile(tasks, 0.99), "ms", "50"),
        Figure("CPU of the main thread in a frame: most", max(tasks), "ms", "50"),
        Figure("tasks over 50 ms", len(found["long"]), "", "0"),
        Figure("frames", len(found["frames"]), ""),
        Figure("rows in the document, at most", found["most"], ""),
    ]
