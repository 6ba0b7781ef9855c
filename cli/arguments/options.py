"""Options that `seen get` and `seen add` have in common, in the words of curl and wget."""

from __future__ import annotations

from typing import Annotated

import typer

Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror", metavar="URL", help="Another URL of the same file (one URL only); repeatable."
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        help="A request header; @FILE reads some, one a line; repeatable.",
    ),
]
Cookie = Annotated[
    str | None,
    typer.Option("--cookie", "-b", metavar="'NAME=VALUE; …'", help="Cookies; @FILE reads them."),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Refuse a larger file: 5000, 5k, 5M, 5G, 5GiB."),
]
Connections = Annotated[
    int | None,
    typer.Option(metavar="N", help="Connections at once, 1 to 32 (SEEN_CONNECTIONS)."),
]
Decode = Annotated[
    bool, typer.Option("--decode", help="Unpack what the origin sends packed without being asked.")
]
IgnoreOriginDigests = Annotated[
    bool,
    typer.Option(
        "--ignore-origin-digests",
        help="Do not check the digests that the origin names (they may be wrong); --checksum counts.",
    ),
]

LOGIN_HELP = (
    "A login for the origin. NAME alone asks for the password, NAME:@FILE reads it (@- from standard "
    "input); a password typed here can be seen by others on this machine."
)
LOGIN_METAVAR = "NAME[:PASSWORD]"
#: `--user` is whose download it is where jobs have owners; curl's hands find -u everywhere.
Login = Annotated[str | None, typer.Option("--login", "-u", metavar=LOGIN_METAVAR, help=LOGIN_HELP)]
LoginAsUser = Annotated[
    str | None, typer.Option("--login", "--user", "-u", metavar=LOGIN_METAVAR, help=LOGIN_HELP)
]
CHECKSUM_HELP = "Another digest it must have: md5, sha1, sha512, blake2b, crc32c."
