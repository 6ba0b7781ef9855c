"""`seen webhook`: where the ends of jobs are delivered, and what has become of the deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments.job_ids import resolve_ids
from cli.context import open_runtime
from cli.help.pages import SeenTyper
from cli.output import formatting
from domain.text import printable

if TYPE_CHECKING:
    from database.webhooks import Delivery

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Owner = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of this owner's jobs; by default of jobs without owner."),
]

app = SeenTyper(help="Have the ends of downloads delivered to a URL.")


@app.command("set")
def set_webhook(
    url: Annotated[str, typer.Argument(metavar="URL", help="http:// or https://.")],
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Deliver all ends of an owner's downloads to a URL from now on."""
    _set(url, owner, as_json=as_json)


@app.command()
def clear(owner: Owner = None, as_json: AsJson = False) -> None:
    """Deliver them no more; what is pending is given up. Webhooks of single downloads stay."""
    _set(None, owner, as_json=as_json)


@app.command()
def show(owner: Owner = None, as_json: AsJson = False) -> None:
    """Print scheme and host of the URL."""
    _show(owner, as_json=as_json)


@app.command()
def secret(
    owner: Owner = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make a new one; the former one signs, too, for a day.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the secret with which a receiver verifies deliveries (`whsec_…`)."""
    runtime = open_runtime()
    from domain.access import Principal
    from tasks.api import webhooks

    found = webhooks.secret_of(Principal.local(), owner, renew=new, runtime=runtime)
    if as_json:
        formatting.print_json({"owner": owner, "secret": found})
    else:
        print(found)


@app.command()
def deliveries(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that are given up.")] = False,
    pending: Annotated[
        bool, typer.Option("--pending", help="Only those that are still to be made.")
    ] = False,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only of this job.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="How many at most, 1 to 500.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the newest first, with their last attempts."""
    job_id = resolve_ids([job])[0] if job is not None else None
    runtime = open_runtime()
    from database.webhooks import DeliveryState
    from domain.access import Principal
    from tasks.api import webhooks

    state = DeliveryState.GIVEN_UP if failed else DeliveryState.PENDING if pending else None
    found = webhooks.list_deliveries(
        Principal.local(), job_id=job_id, state=state, limit=limit, runtime=runtime
    )
    if as_json:
        formatting.print_json([webhooks.delivery_as_json(one) for one in found])
        return
    for one in found:
        _print(one)
    if not found:
        print("There are no such deliveries.")


@app.command()
def redeliver(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Of deliveries.")],
    as_json: AsJson = False,
) -> None:
    """Send deliveries again, also those that were given up or delivered."""
    runtime = open_runtime()
    from domain.access import Principal
    from tasks.api import webhooks

    for one in ids:  # before any is changed
        webhooks.delivery(Principal.local(), one, runtime=runtime)
    found = [webhooks.send_again(Principal.local(), one, runtime=runtime) for one in ids]
    if as_json:
        formatting.print_json([webhooks.delivery_as_json(one) for one in found])
    else:
        print(f"{len(found):,} to be sent again")


def _set(url: str | None, owner: str | None, *, as_json: bool) -> None:
    runtime = open_runtime()
    from domain.access import Principal
    from tasks.api import webhooks

    webhooks.set_webhook(Principal.local(), owner, url, runtime=runtime)
    _show(owner, as_json=as_json)


def _show(owner: str | None, *, as_json: bool) -> None:
    runtime = open_runtime()
    from domain.access import Principal
    from tasks.api import webhooks

    found = webhooks.webhook_of(Principal.local(), owner, runtime=runtime)
    if as_json:
        formatting.print_json({"owner": owner, "url": found})
        return
    whose = "jobs without owner" if owner is None else f"jobs of {owner}"
    where = f"are delivered to {found}" if found else "are not delivered"
    print(printable(f"Ends of {whose} {where}."))


def _print(one: Delivery) -> None:
    who = one.host or "the program of SEEN_ON_END"
    when = formatting.moment(one.ended_at)
    print(printable(f"{one.id:>6}  {when}  {one.job_id}  {one.event:<9}  {one.state}  {who}"))
    if one.log and one.log[-1].error:
        print(printable(f"        {formatting.moment(one.log[-1].at)}: {one.log[-1].error}"))
