"""A browser that has signed in, and its page; each module has a `world` of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support.page.world import PageWorld


@pytest.fixture(scope="module")
def context(world: PageWorld) -> Iterator[BrowserContext]:
    """A browser in which Root has signed in."""
    page = world.signed_in()
    yield page.context
    page.context.close()


@pytest.fixture
def page(world: PageWorld, context: BrowserContext) -> Iterator[Page]:
    """A connected page of Root's; at its end nothing may have been written to the console."""
    page = context.new_page()
    world.errors.clear()
    page.goto(world.url)
    page.locator(".connection.live").wait_for()
    yield page
    page.close()
    assert not world.errors
