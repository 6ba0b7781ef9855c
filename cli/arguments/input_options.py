"""What to download: the URLs of a command line and those of a list (``-i``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.arguments.download_options import DownloadOptions
from cli.arguments.url_list import OPTION, Entry, UrlList, read_url_list
from cli.errors import BadLine, BadLinesError, UsageError
from cli.output import formatting
from cli.output.counter import counter
from cli.output.messages import say
from domain.errors import InvalidInputError

Urls = Annotated[list[str] | None, typer.Argument(metavar="URL", help="What to download.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command is to download.

    Attributes:
        entries: each different download once; those of the command line first.
        typed: how many of them are of the command line.
        bad: lines of the list that are left out.
    """

    entries: Sequence[Entry]
    typed: int
    bad: Sequence[BadLine] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """What `seen get` and `seen add` know about lists; the fields are options of both."""

    input_file: Annotated[
        str | None,
        typer.Option(
            OPTION,
            "-i",
            metavar="FILE",
            help="Download the URLs in FILE, too: one a line, after tabs its mirrors; '-' is standard "
            "input.",
        ),
    ] = None
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out the lines of FILE that are no URLs; exit with 2."
        ),
    ] = False

    def read(self, command: str, urls: Sequence[str], options: DownloadOptions) -> Wanted:
        """Return what to download; print which lines of the list are left out.

        Args:
            command: its name, for messages.
            urls: as typed.
            options: of the command.

        Raises:
            BadLinesError: lines of the list are bad, and `--skip-bad` is not given.
            InvalidInputError: a typed URL is not valid, or the list cannot be read or has no URLs.
            UsageError: there is neither URL nor list.
        """
        if self.input_file is None:
            self._refuse_no_list(command, urls)
            typed = options.entries(urls)
            return Wanted(typed, len(typed))
        options.refuse_stdin_twice(self.input_file)
        typed = options.entries(urls)
        found = self._read_list(self.input_file, typed, is_secret=options.secret_url)
        if found.bad and not self.skip_bad:
            raise BadLinesError(found.name, found.bad)
        if not found.entries and not typed:
            left = "usable " if found.bad else ""
            raise InvalidInputError(OPTION, found.name, f"The list has no {left}URLs.")
        _print_notes(found)
        return Wanted([*typed, *found.entries], len(typed), found.bad)

    def _refuse_no_list(self, command: str, urls: Sequence[str]) -> None:
        if not urls:
            raise UsageError(
                f"Missing argument 'URL', or a list of URLs: -i FILE. See `seen {command} --help`."
            )
        if self.skip_bad:
            raise UsageError("--skip-bad is about lines of a list: give one with -i FILE.")

    def _read_list(self, path: str, typed: Sequence[Entry], *, is_secret: bool) -> UrlList:
        if path == "-" and sys.stdin is not None and sys.stdin.isatty():
            say("reading URLs from the terminal, one a line; Ctrl-D ends the list.")
        with counter("lines read") as count:
            return read_url_list(path, before=typed, is_secret=is_secret, progress=count)


def _print_notes(found: UrlList) -> None:
    if found.bad:
        for text in BadLinesError(found.name, found.bad).texts():
            say(text)
        say(f"{found.name}: {formatting.count(len(found.bad), 'line')} left out.")
    if found.repeated:
        lines = formatting.count(found.repeated, "line")
        verb = "repeats" if found.repeated == 1 else "repeat"
        say(f"{found.name}: {lines} {verb} others; each download is accepted once.")
