"""Write the pictures of docs/page.md: `.venv/bin/python -m tests.support.page docs/images`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.environment import forget_developer_settings
from tests.support.page.world import PATIENCE, PageWorld, page_world, row
from tests.support.stores.server import StoreServer

#: Names, sizes, and what else the origin does with them; the oldest first.
_FILES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("debian-13.iso", {"size": 60_000_000, "bytes_per_second": 900_000}),
    ("film.mkv", {"size": 300_000}),
    ("gone.zip", {"size": 10, "status": 404}),
    ("stream.ts", {"size": 10**8, "bytes_per_second": 600_000, "send_length": False}),
    ("busy.tar.gz", {"size": 10, "status": 503}),
)


def main(folder: Path) -> None:
    """Write all pictures into a folder."""
    forget_developer_settings()
    expect.set_options(timeout=PATIENCE)
    with (
        tempfile.TemporaryDirectory() as data,
        StoreServer() as store,
        page_world(Path(data), store) as world,
    ):
        _take(world, folder)


def _take(world: PageWorld, folder: Path) -> None:
    world.store(12, "photos")
    for name, behaviour in _FILES:
        world.origin.serve(f"/{name}", **behaviour)
        world.api.system.submit(world.origin.url(f"/{name}"), user_id="root")
    page = world.signed_in(viewport={"width": 1280, "height": 720})
    expect(row(page, "busy.tar.gz")).to_contain_text("Retrying")
    expect(row(page, "debian-13.iso")).to_contain_text("MB of 60.0 MB")
    expect(row(page, "debian-13.iso").locator(".spark")).to_be_visible()
    page.wait_for_timeout(6_000)  # the small curves grow
    page.screenshot(path=folder / "page-list.png")
    row(page, "debian-13.iso").get_by_role("link").click()
    expect(page.locator(".curve canvas")).to_be_visible()
    page.wait_for_timeout(8_000)  # the curve grows
    page.screenshot(path=folder / "page-download.png")
    _narrow_and_dark(page, folder)


def _narrow_and_dark(page: Page, folder: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 380, "height": 720})
    page.keyboard.press("g")
    expect(page.locator(".rows .row").first).to_be_visible()
    page.screenshot(path=folder / "page-narrow.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
