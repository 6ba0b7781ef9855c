"""The options of `seen get` and `seen add` that describe a download, named as in curl and wget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments import credentials
from cli.arguments.cookie_file import CookieFile
from cli.arguments.request_list import RequestList, inside
from cli.arguments.sizes import UNITS_HELP, parse_rate, parse_size
from cli.arguments.text_file import is_text
from cli.arguments.url_list import Entry
from cli.output.messages import say
from domain.errors import InvalidInputError
from domain.files import Checksum
from domain.request_fields import HIDDEN
from domain.urls import display_url, host_of

if TYPE_CHECKING:
    from domain.request import DownloadRequest

#: Sections of the help pages.
FILE, REQUEST, CHECKS, TRANSFER = "The file", "The request", "Checks", "The transfer"

#: Of `list`, `watch` and `get`; `show` and JSON always have whole URLs.
ShowUrls = Annotated[
    bool,
    typer.Option(
        "--show-urls",
        help="Show whole URLs, also signatures and keys in them; not those of --secret-url.",
    ),
]

#: Hosts of which a command says how many cookies go to them.
_DESCRIBED = 10

#: Options that describe one file, by field of the request.
_FOR_ONE_URL = {
    "name": "--name",
    "checksum": "--sha256 or --checksum",
    "mirrors": "--mirror",
    "idempotency_key": "--idempotency-key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """What `seen get` and `seen add` know about a download; the fields are options of both."""

    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The file's name (one URL only).", rich_help_panel=FILE),
    ] = None
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="The SHA-256 that the file must have.", rich_help_panel=CHECKS
        ),
    ] = None
    checksum: Annotated[
        str | None,
        typer.Option(
            metavar="ALG:HEX",
            help="Another digest that it must have: md5, sha1, sha512, blake2b, crc32c.",
            rich_help_panel=CHECKS,
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a file of the same name.", rich_help_panel=FILE),
    ] = False
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="URL",
            help="Another URL of the same file (one URL only); repeatable.",
            rich_help_panel=REQUEST,
        ),
    ] = None
    secret_url: Annotated[
        bool,
        typer.Option(
            "--secret-url",
            help="The URL is a secret: show no more of it than scheme and host, anywhere.",
            rich_help_panel=REQUEST,
        ),
    ] = False
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            "-H",
            metavar="'NAME: VALUE'",
            help="A request header; @FILE reads one from each line; repeatable.",
            rich_help_panel=REQUEST,
        ),
    ] = None
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            metavar="NAME[:PASSWORD]",
            help="The login at the origin. NAME asks for the password, NAME:@FILE reads it "
            "(@- from standard input); other users of this machine can see a typed one.",
            rich_help_panel=REQUEST,
        ),
    ] = None
    login: Annotated[str | None, typer.Option("--login", hidden=True)] = None
    """The former name of `--user`."""
    cookie: Annotated[
        str | None,
        typer.Option(
            "--cookie",
            "-b",
            metavar="'NAME=VALUE; …' | FILE",
            help="Cookies; a text without '=' is a file of them (cookies.txt), of which those that "
            "match the URL are sent.",
            rich_help_panel=REQUEST,
        ),
    ] = None
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help=f"Refuse a larger file, such as 500M or 5GiB: {UNITS_HELP}.",
            rich_help_panel=CHECKS,
        ),
    ] = None
    connections: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Connections at once, 1 to 32 (SEEN_CONNECTIONS).",
            rich_help_panel=TRANSFER,
        ),
    ] = None
    decode: Annotated[
        bool,
        typer.Option(
            "--decode", help="Undo a Content-Encoding of the response.", rich_help_panel=TRANSFER
        ),
    ] = False
    limit_rate: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Bytes a second of each file, such as 500k or 10M; `seen limit` changes it.",
            rich_help_panel=TRANSFER,
        ),
    ] = None
    no_origin_checksum: Annotated[
        bool,
        typer.Option(
            "--no-origin-checksum",
            help="Do not check digests that the origin sends; --checksum is checked.",
            rich_help_panel=CHECKS,
        ),
    ] = False
    ignore_origin_digests: Annotated[bool, typer.Option("--ignore-origin-digests", hidden=True)] = (
        False
    )
    """The former name of `--no-origin-checksum`."""

    def entries(self, urls: Sequence[str]) -> list[Entry]:
        """Return each different one of the typed URLs.

        Raises:
            InvalidInputError: one is not valid.
        """
        given = ({"url": url, "secret_url": self.secret_url} for url in dict.fromkeys(urls))
        return [Entry(_request(one).url) for one in given]

    def refuse_stdin_twice(self, input_file: str | None = None) -> None:
        """Raise InvalidInputError where two options read standard input."""
        user = self.user if self.login is None else self.login
        credentials.refuse_stdin_twice(self.header or (), self.cookie, user, input_file)

    def requests(self, entries: Sequence[Entry], *, directory: str, **more: object) -> RequestList:
        """Return one request for each entry. May ask for a password on the terminal.

        Args:
            entries: what to download, at least one.
            directory: of the files.
            more: further fields of `DownloadRequest`.

        Raises:
            InvalidInputError: names the option or field, and what is allowed.
        """
        user = self._user()
        self.refuse_stdin_twice()
        values = {**more, **self._fields(), "directory": directory, "url": entries[0].url}
        if len(entries) > 1:
            _refuse_for_several_urls(values)
        else:
            values |= _fields_of(entries[0], values)
        _request(values)  # an error comes before cookies are chosen and the password is requested
        for one in {one.directory: one for one in entries if one.directory}.values():
            _request({**values, "directory": inside(directory, one)})
        cookies = self._cookies(entries, values)
        username, password = credentials.login(user)
        template = _request({**values, "username": username, "password": password})
        return RequestList(template, entries, directory=directory, cookies=cookies)

    def _cookies(self, entries: Sequence[Entry], values: dict[str, Any]) -> CookieFile | None:
        """Add the cookies of the first entry to the values, and check those of all.

        Return the file of cookies, if there is one, after a line about which of them are sent.
        """
        given = credentials.cookies(self.cookie)
        if not isinstance(given, CookieFile):
            values["cookies"] = given
            return None
        for url in reversed([one.url for one in entries]):  # the values keep those of the first
            values |= {"cookies": given.value_for(url), "cookie_jar": given.jar_for(url)}
        _request(values)
        for text in _summaries(given, entries):
            say(f"{given.path}: {text}")
        return given

    def _fields(self) -> dict[str, object]:
        """Return the fields of a request, without the login."""
        return {
            "name": self.name,
            "checksum": _checksum(self.sha256, self.checksum),
            "overwrite": self.overwrite,
            "mirrors": self.mirror or (),
            "secret_url": self.secret_url,
            "headers": credentials.headers(self.header or ()),
            "max_bytes": _if_given(parse_size, "--max-bytes", self.max_bytes),
            "connections": self.connections,
            "decode": self.decode,
            "max_rate": _if_given(parse_rate, "--limit-rate", self.limit_rate),
            "ignore_origin_digests": self.no_origin_checksum or self.ignore_origin_digests,
        }

    def _user(self) -> str | None:
        if self.login is None:
            return self.user
        if self.user is not None:
            raise InvalidInputError("--login", HIDDEN, "It is the former name of --user; give one.")
        say("--login is now --user; the next version refuses it.")
        return self.login


def _fields_of(entry: Entry, values: dict[str, Any]) -> dict[str, object]:
    """Return the fields of the only request: what its list says, before what the command says."""
    return {
        "mirrors": (*entry.mirrors, *values["mirrors"]),
        "name": values["name"] if entry.name is None else entry.name,
        "checksum": values["checksum"] if entry.checksum is None else entry.checksum,
        "directory": inside(values["directory"], entry) if entry.directory else values["directory"],
    }


def _summaries(file: CookieFile, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield sentences about the cookies of a file, each once; of many hosts those of the first ones."""
    if len(entries) > _DESCRIBED:
        entries = list({host_of(one.url): one for one in reversed(entries)}.values())[::-1]
    yield from dict.fromkeys(file.summary(one.url) for one in entries[:_DESCRIBED])
    if len(entries) > _DESCRIBED:
        yield f"{len(entries) - _DESCRIBED:,} more hosts get those for them."


def _if_given(parse: Callable[[str, str], int | None], option: str, text: str | None) -> int | None:
    return None if text is None else parse(option, text)


def _refuse_for_several_urls(values: dict[str, object]) -> None:
    for field, option in _FOR_ONE_URL.items():
        if values.get(field):
            raise InvalidInputError(option, values[field], "It is allowed with one URL only.")


def _checksum(sha256: str | None, checksum: str | None) -> str | None:
    if sha256 is None:
        return checksum
    if checksum is not None:
        raise InvalidInputError("--checksum", checksum, "Give --sha256 or --checksum, not both.")
    return str(Checksum.parse(f"sha256:{sha256}"))


def _request(values: dict[str, object]) -> DownloadRequest:
    from domain.request import SECRET_FIELDS, DownloadRequest

    for field, value in values.items():
        if isinstance(value, str) and not is_text(value):
            is_secret = field in (*SECRET_FIELDS, "webhook") or (
                field == "url" and values.get("secret_url")
            )
            shown = HIDDEN if is_secret else display_url(value) if field == "url" else value
            raise InvalidInputError(field, shown, "It is not valid UTF-8.")
    return DownloadRequest.model_validate(values)
