"""The page as people have it: the real stack behind a proxy that can fail, and a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page
from sqlalchemy import insert

from database.models import jobs
from domain.access import Principal
from domain.ids import new_job_id
from domain.job import JobStatus
from tasks.api import accounts
from tests.support.origins.origin import Origin
from tests.support.page.browser import chromium
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

AXE = Path(__file__).with_name("axe.min.js")
#: Milliseconds until a condition of a test has to hold, on a machine that is busy.
PATIENCE = 40_000
#: What the browser itself reports of requests that tests let fail.
_EXPECTED = re.compile(r"Failed to load resource")


class PageWorld:
    """One stack and one browser.

    Attributes:
        api: the served API, with its system and users.
        origin: what is downloaded from.
        proxy: between the browser and the API.
        errors: what the console of each page has complained of, and uncaught exceptions.
    """

    def __init__(self, api: HttpApi, origin: Origin, proxy: Proxy, browser: Browser) -> None:
        self.api, self.origin, self.proxy, self.browser = api, origin, proxy, browser
        self.url = f"http://127.0.0.1:{proxy.port}/"
        self.errors: list[str] = []

    def context(self, **options: Any) -> BrowserContext:
        """Return a new profile, without cookies; its pages' errors are collected."""
        context = self.browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(PATIENCE)
        context.on("page", self._watch)
        return context

    def link(self, user: str = "root") -> str:
        """Return the address with which a user signs in once."""
        link = accounts.create_link(Principal.local(), user, runtime=self.api.system.runtime)
        return f"{self.url}#/sign-in/{link.token}"

    def signed_in(self, user: str = "root", **options: Any) -> Page:
        """Return a page on which a user has signed in, connected."""
        page = self.context(**options).new_page()
        page.goto(self.link(user))
        page.locator(".connection.live").wait_for()
        return page

    def store(self, count: int, name: str, status: JobStatus = JobStatus.COMPLETED) -> None:
        """Write so many jobs of Root's to SQL, without what leads to their state."""
        now = datetime.now(UTC)
        common: dict[str, object] = {
            "status": status.value,
            "directory": "",
            "max_attempts": 3,
            "user_id": "root",
        }
        common |= {"host": "example.org", "created_at": now, "updated_at": now}
        common |= {"bytes_total": 4_200_000, "finished_at": now}
        rows = [
            {"id": new_job_id(), "url": f"https://example.org/{name}-{n:05}.iso", **common}
            for n in range(count)
        ]
        with self.api.system.runtime.database.write() as connection:
            connection.execute(insert(jobs), rows)

    def _watch(self, page: Page) -> None:
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _EXPECTED.match(message.text):
            self.errors.append(message.text)


@contextmanager
def page_world(
    folder: Path, store: StoreServer, *, has_workers: bool = True
) -> Iterator[PageWorld]:
    """Run a stack with all its processes, or with the API alone, and a browser."""
    with Origin() as origin, http_api(folder, store, settings=_SETTINGS) as api:
        if has_workers:
            api.system.start_all()
        with Proxy(api.port) as proxy, chromium() as browser:
            yield PageWorld(api, origin, proxy, browser)


FLOWER = "http://127.0.0.1:5555"
_SETTINGS = {
    "SEEN_USER_REQUESTS": "0",
    "SEEN_MAX_PER_HOST": "0",
    "SEEN_FLOWER_URL": FLOWER,
}


def row(page: Page, name: str) -> Locator:
    """Return the row of the list with a file of this name."""
    return page.locator(".rows .row").filter(has=page.get_by_role("link", name=name, exact=True))


def violations(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or critical."""
    # Evaluated by the debugger, which the page's policy does not hold back.
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
