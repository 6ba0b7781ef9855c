"""The page's list in a real browser on the real stack: sign in, add, watch, steer, search, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from domain.job import JobStatus
from tests.support.page.world import PATIENCE, PageWorld, page_world, row
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer
) -> Iterator[PageWorld]:
    with page_world(tmp_path_factory.mktemp("page"), _shared_store) as world:
        yield world


def add(page: Page, text: str) -> None:
    """Open the dialog by its key, and submit lines."""
    page.keyboard.press("a")
    page.get_by_label("URLs, one a line").fill(text)
    page.locator("dialog button.main").click()


def closed(page: Page) -> None:
    """Wait until the dialog is closed: it takes the keys."""
    expect(page.locator("dialog")).to_have_count(0)


def undo_for(page: Page, seconds: int) -> None:
    """Set the time for undo: a test on a busy machine neither misses it nor waits for it."""
    page.evaluate("seconds => localStorage.setItem('seen-undo-seconds', seconds)", seconds)


def number_of_jobs(world: PageWorld) -> int:
    """Return how many there are. Workers write further events of earlier ones meanwhile."""
    return world.api.written()[0]


def width(bar: Locator) -> float:
    return float(bar.evaluate("bar => parseFloat(bar.firstChild.style.width)"))


# ── signing in ──────────────────────────────────────────────────────────────────────────────────


def test_a_link_signs_in_once_and_leaves_the_address(world: PageWorld) -> None:
    context, link = world.context(), world.link()
    page = context.new_page()
    page.goto(link)
    expect(page.locator(".connection.live")).to_be_visible()
    assert page.url == f"{world.url}#/"
    page.get_by_text("root").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_label("API key")).to_be_visible()
    again = context.new_page()
    again.goto(link)
    expect(again.get_by_role("alert")).to_be_visible()
    context.close()


def test_a_key_signs_in_and_a_wrong_one_is_refused(world: PageWorld) -> None:
    context = world.context()
    page = context.new_page()
    page.goto(world.url)
    field = page.get_by_label("API key")
    for secret, signs_in in (("seen_00000000_nonsense", False), (world.api.keys["root"], True)):
        field.fill(secret)
        page.keyboard.press("Enter")
        shown = page.locator(".connection.live") if signs_in else page.get_by_role("alert")
        expect(shown).to_be_visible()
    page.reload()
    expect(page.locator(".connection.live")).to_be_visible()
    context.close()


def test_a_link_does_not_change_who_is_signed_in_without_a_question(
    world: PageWorld, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(world.link("eve"))
    page.get_by_role("button", name="Stay root").click()
    expect(page.locator(".user summary")).to_have_text("root")
    page.close()


def test_a_viewer_sees_all_and_changes_nothing(world: PageWorld) -> None:
    world.api.job_of("ada", "viewed.bin", name="viewed.bin")
    page = world.signed_in("vic")
    expect(row(page, "viewed.bin")).to_be_visible()
    assert page.locator(".rows button, .tools button").count() == 0
    page.keyboard.press("a")
    assert page.locator("dialog").count() == 0
    page.context.close()


# ── adding ──────────────────────────────────────────────────────────────────────────────────────


def test_three_are_added_move_are_paused_and_cancelled(world: PageWorld, page: Page) -> None:
    names = ("one.bin", "two.bin", "three.bin")
    urls = [
        world.origin.serve(f"/{name}", size=10**9, bytes_per_second=300_000).url for name in names
    ]
    add(page, "\n".join(urls))
    one, two, three = (row(page, name) for name in names)
    for each in (one, two, three):
        expect(each).to_contain_text("Downloading")
        expect(each).to_contain_text("kB/s")
    bar = one.get_by_role("progressbar")
    first = width(bar)
    wait_until(lambda: width(bar) > first, deadline=40, what="the bar moves")
    one.get_by_role("button", name="Pause").click()
    expect(one).to_contain_text("Paused")
    one.get_by_role("button", name="Resume").click()
    expect(one).to_contain_text("Downloading")
    undo_for(page, 600)
    two.get_by_role("button", name="Cancel").click()
    expect(two).to_contain_text("Will be cancelled")
    page.get_by_role("button", name="Undo").click()
    expect(two).to_contain_text("Downloading")
    undo_for(page, 0)
    three.get_by_role("button", name="Cancel").click()
    expect(three).to_contain_text("Cancelled")
    undo_for(page, 600)
    for each in (one, two):
        each.get_by_role("button", name="Cancel").click()
        expect(each).to_contain_text("Will be cancelled")
    page.close()  # who leaves gets what was asked for, without the time for undo
    for job in world.api.system.runtime.jobs.find(limit=50):
        if job.url in urls:
            world.api.system.wait_for(job, JobStatus.CANCELLED)


def test_a_failure_says_why_is_retried_and_saved(world: PageWorld, page: Page) -> None:
    served = world.origin.serve("/gone.bin", size=2000, statuses=[404])
    add(page, served.url)
    gone = row(page, "gone.bin")
    expect(gone).to_contain_text("The origin answered 404 Not Found.")
    gone.get_by_role("button", name="Retry").click()
    expect(gone).to_contain_text("Completed")
    gone.get_by_role("link", name="gone.bin").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the file").click()
    assert saved.value.path().stat().st_size == 2000


WRONG = {
    "example.org/a": "is not a URL",
    "gopher://example.org/a": "“gopher:” is not supported",
    "https://user:word@example.org/a": "A URL has no user name and password here",
    "https://example.org/b sha256:12": "A checksum of sha256 has 64 digits",
    "https://example.org/b2 rot13:12": "is not a checksum",
    "https://example.org/c sha256:" + "0" * 64 + " more": "no more",
}


def test_all_wrong_lines_are_named_and_none_is_sent(world: PageWorld, page: Page) -> None:
    before = number_of_jobs(world)
    lines = ["https://example.org/ok", *WRONG, "https://example.org/ok", "# a comment", ""]
    add(page, "\n".join(lines))
    shown = page.locator(".problems li").all_inner_texts()
    expected = [*enumerate(WRONG.values(), start=2), (len(WRONG) + 2, "is on line 1, too")]
    for text, (number, words) in zip(shown, expected, strict=True):
        assert text.startswith(f"Line {number}: "), text
        assert words in text
    assert number_of_jobs(world) == before


def test_what_the_service_refuses_is_named_by_its_line(world: PageWorld, page: Page) -> None:
    before = number_of_jobs(world)
    add(page, f"https://example.org/a\n\nhttps://example.org/{'b' * 9000}")
    expect(page.locator(".problems li")).to_contain_text(re.compile("^Line 3: "))
    page.get_by_label("Folder").fill("../elsewhere")
    page.get_by_label("URLs, one a line").fill("https://example.org/a")
    page.locator("dialog button.main").click()
    expect(page.locator(".problems li")).to_contain_text("directory")
    assert number_of_jobs(world) == before


def test_a_list_that_is_dropped_or_pasted_opens_the_dialog(page: Page) -> None:
    for event in ("drop", "paste"):
        data = page.evaluate_handle(
            """event => {
                const data = new DataTransfer();
                data.setData("text/plain", "https://example.org/1\\nhttps://example.org/2");
                const init = {bubbles: true, cancelable: true};
                document.body.dispatchEvent(event === "drop"
                    ? new DragEvent("drop", {...init, dataTransfer: data})
                    : new ClipboardEvent("paste", {...init, clipboardData: data}));
            }""",
            event,
        )
        data.dispose()
        expect(page.locator("dialog button.main")).to_have_text("Add 2 downloads")
        page.keyboard.press("Escape")
        closed(page)


# ── staying right ───────────────────────────────────────────────────────────────────────────────


def test_a_lost_connection_is_shown_and_comes_back(world: PageWorld, page: Page) -> None:
    world.proxy.cut()
    expect(page.locator(".notice.lost")).to_contain_text("Disconnected")
    job = world.api.job_of("root", "meanwhile.bin", name="meanwhile.bin")
    world.proxy.heal()
    expect(page.locator(".connection.live")).to_be_visible()
    expect(row(page, "meanwhile.bin")).to_be_visible()
    expect(page.locator(".notice.lost")).to_have_count(0)
    assert job.id


def test_who_is_signed_out_elsewhere_sees_the_sign_in(world: PageWorld) -> None:
    page = world.signed_in("eve")
    page.evaluate("fetch('/v1/session/everywhere', {method: 'POST'})")
    expect(page.get_by_label("API key")).to_be_visible()
    page.context.close()


# ── lists ───────────────────────────────────────────────────────────────────────────────────────

MANY = 2_000


@pytest.fixture(scope="module")
def many(world: PageWorld) -> None:
    """So many completed downloads; each name has its number."""
    world.store(MANY, "many")


def names(page: Page) -> list[str]:
    return page.locator(".rows .name a").all_inner_texts()


@pytest.mark.usefixtures("many")
def test_of_many_only_what_is_seen_is_in_the_document(page: Page) -> None:
    page.get_by_role("button", name="Completed").click()
    seen: set[str] = set()

    def at_the_end() -> bool:
        page.locator(".grid").evaluate("grid => grid.scrollTop = grid.scrollHeight")
        found = names(page)
        assert len(found) < 60
        seen.update(found)
        return "many-00000.iso" in seen

    wait_until(at_the_end, deadline=60, what="the oldest is reached")
    page.get_by_label("Sort").select_option("oldest")
    expect(page.locator(".rows .name a", has_text="many-").first).to_have_text("many-00000.iso")


@pytest.mark.usefixtures("many")
def test_a_search_finds_and_says_when_there_is_nothing(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("MANY-00077")
    expect(page.locator(".rows .row")).to_have_count(1)
    expect(row(page, "many-00077.iso")).to_be_visible()
    page.get_by_role("searchbox").fill("nothing has this name")
    expect(page.locator(".empty")).to_contain_text("Nothing was found")


@pytest.mark.usefixtures("many")
def test_rows_are_selected_by_mouse(world: PageWorld, page: Page) -> None:
    page.get_by_role("searchbox").fill("many-0001")
    expect(page.locator(".rows .row")).to_have_count(10)
    rows = page.locator(".rows .row .state")
    rows.nth(1).click()
    rows.nth(4).click(modifiers=["Shift"])
    expect(page.locator(".row.selected")).to_have_count(4)
    rows.nth(2).click(modifiers=["Control"])
    expect(page.get_by_text("3 rows selected")).to_be_visible()
    undo_for(page, 600)
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".row.pending")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".row.pending")).to_have_count(0)
    undo_for(page, 0)
    bar = page.get_by_role("toolbar")
    expect(bar.get_by_role("button", name="Retry")).to_be_disabled()
    expect(bar.get_by_label("Priority")).to_be_disabled()
    bar.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".rows .row")).to_have_count(7)
    expect(bar).to_have_count(0)  # what was selected is gone


@pytest.mark.usefixtures("many")
def test_everything_works_by_keyboard(world: PageWorld, page: Page) -> None:
    url = world.origin.serve("/keys.bin", size=10**9, bytes_per_second=200_000).url
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("show these keys")
    page.keyboard.press("Escape")
    closed(page)
    page.keyboard.press("a")
    expect(page.get_by_label("URLs, one a line")).to_be_focused()
    page.keyboard.type(url)
    for _ in range(6):  # folder, priority, name, checksum, cancel, add
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    closed(page)
    undo_for(page, 600)
    keys = row(page, "keys.bin")
    expect(keys).to_contain_text("Downloading")
    page.keyboard.press("Home")
    expect(keys).to_have_class(re.compile("current"))
    for key, text in (
        ("p", "Paused"),
        ("+", "high priority"),
        ("r", "Downloading"),
        ("c", "Will be cancelled"),
        ("u", "Downloading"),
    ):
        page.keyboard.press(key)
        expect(keys).to_contain_text(text)
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".row.selected")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(page.locator(".row.selected")).to_have_count(0)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="keys.bin")).to_be_visible()
    expect(page.locator(".curve canvas")).to_be_visible()
    page.keyboard.press("g")
    expect(keys).to_be_visible()
    undo_for(page, 0)
    page.keyboard.press("Delete")
    expect(keys).to_contain_text("Cancelled")
