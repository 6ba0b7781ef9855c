"""`seen cache`: statistics of the store, and deletion of cached values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import open_cache
from cli.help.pages import SeenTyper
from cli.output import formatting
from domain.text import printable

if TYPE_CHECKING:
    from cache import CacheStats

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = SeenTyper(help="Show statistics of the cache; delete cached values.")


@app.command()
def stats(
    scan: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Scan about this many keys to count them by kind."),
    ] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Show memory, keys by kind, hit ratio, evictions and clients of the store."""
    with open_cache() as manager:
        found = manager.stats(scan_limit=scan)
    if as_json:
        formatting.print_json(found.model_dump(mode="json"))
        return
    for name, value in _rows(found):
        print(printable(f"{name:<12} {value}"))


@app.command("forget-user")
def forget_user(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    as_json: AsJson = False,
) -> None:
    """Delete a user's sessions, profile, catalog entries and live progress from the store."""
    with open_cache() as manager:
        removed = manager.invalidate_user(user_id)
    if as_json:
        formatting.print_json(removed.model_dump())
        return
    print(", ".join(f"{name} {count}" for name, count in removed.model_dump().items()))


@app.command("forget-title")
def forget_title(
    title_id: Annotated[str, typer.Argument(metavar="TITLE", help="The title's id.")],
    as_json: AsJson = False,
) -> None:
    """Delete all catalog entries that contain a title."""
    with open_cache() as manager:
        _print_deleted(manager.catalog.invalidate_title(title_id), as_json=as_json)


@app.command("forget-keys")
def forget_keys(
    pattern: Annotated[
        str,
        typer.Argument(metavar="PATTERN", help="A glob below 'seen:', such as 'seen:catalog:*'."),
    ],
    as_json: AsJson = False,
) -> None:
    """Delete keys by pattern. Running downloads write their keys again."""
    with open_cache() as manager:
        _print_deleted(manager.delete_keys_by_pattern(pattern), as_json=as_json)


def _rows(found: CacheStats) -> list[tuple[str, str]]:
    limit = f" of {formatting.size(found.max_memory)}" if found.max_memory else " (no limit)"
    ratio = "nothing read yet" if found.hit_ratio is None else f"{found.hit_ratio:.1%}"
    more = "" if found.scanned_all else f" (among {found.scanned:,} of {found.db_size:,} keys)"
    families = ", ".join(f"{name} {count:,}" for name, count in found.families.items())
    return [
        (
            "server",
            f"{found.server} {found.version}, up {formatting.duration(found.uptime_seconds)}",
        ),
        ("memory", f"{formatting.size(found.used_memory)}{limit}"),
        ("keys", f"{found.db_size:,}"),
        ("kinds", f"{families or 'none'}{more}"),
        ("hit ratio", ratio),
        ("evicted", f"{found.evicted_keys:,}"),
        ("expired", f"{found.expired_keys:,}"),
        ("clients", f"{found.connected_clients:,}"),
    ]


def _print_deleted(count: int, *, as_json: bool) -> None:
    if as_json:
        formatting.print_json({"deleted": count})
    else:
        print(f"{count:,} deleted")
