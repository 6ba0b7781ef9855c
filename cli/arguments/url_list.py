"""Reads a list of URLs, ``--input-file``: one file a line, as in aria2's lists, and checks each line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from cli.arguments.text_file import is_text, read_lines
from cli.errors import BadLine
from domain.errors import InvalidInputError
from domain.request_fields import MAX_MIRRORS
from domain.urls import MAX_URL_OCTETS, canonical_url, check_url

OPTION = "--input-file"
#: More need about 400 MB of memory in the command.
MAX_URLS = 1_000_000
_LONGEST_LINE = (1 + MAX_MIRRORS) * (MAX_URL_OCTETS + 1)
#: Lines between two calls of `progress`.
_STEP = 1000

_OPTION_LINE = re.compile(r"([a-z][a-z0-9-]*)=(.*)", re.DOTALL)
_FIELDS = {"out": "name", "dir": "directory", "checksum": "checksum"}
_SUPPORTED = "out, dir and checksum"


class Entry(NamedTuple):
    """A file to download, and what its list says about it."""

    url: str
    mirrors: tuple[str, ...] = ()
    name: str | None = None
    directory: str = ""
    """Inside the folder that the command names."""
    checksum: str | None = None
    line: int = 0
    """In the list; 0 for a URL of the command line."""

    @property
    def key(self) -> object:
        """Equal for two entries that are the same download."""
        url = canonical_url(self.url)
        if not (self.name or self.directory or self.checksum):
            return self.url if url == self.url else url  # one string instead of two equal ones
        return url, self.name, str(PurePosixPath(self.directory)), self.checksum


@dataclass
class UrlList:
    """The content of a list.

    Attributes:
        path: of the file; ``-`` for standard input.
        entries: each different download once, in the order of the lines.
        bad: the lines that are not accepted.
        repeated: how many lines were left out because they repeat an earlier one.
    """

    path: str
    entries: list[Entry] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    repeated: int = 0

    @property
    def name(self) -> str:
        """The file, for messages."""
        return "standard input" if self.path == "-" else self.path


def read_url_list(
    path: str,
    *,
    before: Iterable[Entry] = (),
    is_secret: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> UrlList:
    """Read and check a list: on each line a URL and, separated by tabs, further URLs of the same file.

    White space around URLs, blank lines and lines that begin with ``#`` are ignored. Lines that
    begin with white space and are ``out=NAME``, ``dir=FOLDER`` or ``checksum=ALGORITHM=HEX`` concern the
    URL before them.

    Args:
        path: of the file; ``-`` is standard input.
        before: downloads of which the list's repetitions are left out.
        is_secret: no message shows more of a URL than that it is wrong.
        progress: is called with the number of lines read, now and then.

    Raises:
        InvalidInputError: the file cannot be read, is no text, or has too many URLs.
    """
    reader = _Reader(path, before, is_secret=is_secret)
    for number, line in enumerate(read_lines(OPTION, path, longest=_LONGEST_LINE), start=1):
        reader.add(number, line)
        if number % _STEP == 0:
            progress(number)
    reader.end_entry()
    reader.found.bad.sort()
    return reader.found


class _LineError(ValueError):
    """A line is not accepted; the message is a sentence that says why."""


class _Reader:
    """Puts lines together to entries."""

    def __init__(self, path: str, before: Iterable[Entry], *, is_secret: bool) -> None:
        self.found = UrlList(path)
        self._is_secret = is_secret
        self._keys = {one.key for one in before}
        self._fields: dict[str, str] | None = None
        """Of the entry whose lines are being read; None before the first one."""
        self._urls: list[str] = []
        self._lines: dict[str, int] = {}
        """Where each field of the entry is."""
        self._bad_line = 0
        """The last line of the entry that is not accepted."""

    def add(self, number: int, line: str) -> None:
        """Read one line."""
        text = line.strip()
        if not text or text.startswith("#"):
            return
        option = _OPTION_LINE.fullmatch(text)
        is_option = option is not None and line[0].isspace()
        if not is_option:
            self.end_entry()
            self._start_entry(number, text)
        try:
            self._check_text(line)
            if option is not None:
                self._add_option(option[1], option[2], number, is_indented=is_option)
        except _LineError as error:
            self._refuse(number, str(error))

    def end_entry(self) -> None:
        """Check the entry whose last line has been read."""
        fields, self._fields = self._fields, None
        number = self._lines.get("url", 0)
        if fields is None or self._bad_line == number:
            return
        try:
            entry = _checked(self._urls, fields, number, is_secret=self._is_secret)
        except InvalidInputError as error:
            is_name = error.field == "directory" and "/" in fields.get("name", "")
            self._refuse(self._lines.get("name" if is_name else error.field, number), str(error))
        else:
            if not self._bad_line:
                self._keep(entry)

    def _start_entry(self, number: int, text: str) -> None:
        urls = [one.strip() for one in text.split("\t")]
        self._urls, self._fields = [one for one in urls if one], {}
        self._lines, self._bad_line = {"url": number}, 0

    def _check_text(self, line: str) -> None:
        if len(line) > _LONGEST_LINE:
            raise _LineError(f"It is longer than {_LONGEST_LINE:,} characters.")
        if "\0" in line:
            if not self.found.entries:
                why = "It is not a list of URLs: it contains NUL bytes before the first URL."
                raise InvalidInputError(OPTION, self.found.name, why)
            raise _LineError("It contains NUL bytes, so it is not text.")
        if not is_text(line):
            raise _LineError("It is not UTF-8 text.")

    def _add_option(self, name: str, value: str, number: int, *, is_indented: bool) -> None:
        if not is_indented:
            raise _LineError(f"It is no URL. The option {name!r} of a URL begins with a space.")
        if self._fields is None:
            raise _LineError("It is an option, and no URL stands before it.")
        field_name = _FIELDS.get(name)
        if field_name is None:
            raise _LineError(f"The option {name!r} is not supported in lists; {_SUPPORTED} are.")
        if field_name in self._fields:
            raise _LineError(f"The URL has the option {name!r} already.")
        self._fields[field_name] = value.strip()
        self._lines[field_name] = number

    def _keep(self, entry: Entry) -> None:
        key = entry.key
        if key in self._keys:
            self.found.repeated += 1
            return
        self._keys.add(key)
        self.found.entries.append(entry)
        self._check_number()

    def _refuse(self, number: int, reason: str) -> None:
        self._bad_line = number
        self.found.bad.append(BadLine(number, reason))
        self._check_number()

    def _check_number(self) -> None:
        if len(self.found.entries) + len(self.found.bad) > MAX_URLS:
            why = f"It has more than {MAX_URLS:,} URLs. Split it."
            raise InvalidInputError(OPTION, self.found.name, why)


def _checked(urls: list[str], fields: dict[str, str], line: int, *, is_secret: bool) -> Entry:
    """Return a valid entry; raise InvalidInputError, which names the field of the request."""
    from domain.request import DownloadRequest

    if len(urls) == 1 and not fields and not is_secret:
        return Entry(check_url(urls[0]), line=line)  # a request does the same, more slowly
    folder, name = _place(fields.get("directory", ""), fields.get("name"))
    checksum = fields.get("checksum")
    request = DownloadRequest(
        url=urls[0],
        mirrors=tuple(urls[1:]),
        name=name,
        directory=folder,
        checksum=None if checksum is None else _checksum(checksum),
        secret_url=is_secret,
    )
    return Entry(
        request.url, request.mirrors, request.name, request.directory, request.checksum, line
    )


def _place(folder: str, name: str | None) -> tuple[str, str | None]:
    """Return folder and name of ``dir=`` and ``out=``, which may contain a folder, too."""
    if folder.startswith(("/", "~")):
        why = "A list names folders inside that of the command (-o, -d), without '/' at the start."
        raise InvalidInputError("directory", folder, why)
    if str(PurePosixPath(folder)) == ".":
        folder = ""
    if name is None or "/" not in name:
        return folder, name
    if name.startswith(("/", "~")):
        why = "A list names files inside the folder of the command, without '/' at the start."
        raise InvalidInputError("name", name, why)
    inner, _, last = name.rpartition("/")
    return f"{folder}/{inner}" if folder else inner, last


def _checksum(text: str) -> str:
    """Return aria2's ``sha-256=HEX`` as ``sha256:HEX``."""
    algorithm, equals, digest = text.partition("=")
    return f"{algorithm.replace('-', '')}:{digest}" if equals else text
