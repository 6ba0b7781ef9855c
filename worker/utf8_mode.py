"""Python's UTF-8 mode (PEP 540): names of files are UTF-8, whatever the locale of whoever starts us.

In a locale like de_DE.ISO-8859-1, or in C without coercion, Python cannot write a Japanese
file name at all, and writes an umlaut as other octets than every other program.
"""

from __future__ import annotations

import os
import sys

#: Options of a Python that is started for a program of ours.
UTF8 = ("-X", "utf8")


def ensure() -> None:
    """Go on where names of files are UTF-8; else replace this process by itself in UTF-8 mode.

    For the start of a program: nothing that it has done before remains, but its open descriptors.
    """
    if sys.getfilesystemencoding().lower() == "utf-8":
        return
    # For children as well. As an option, too: with -E or -I a variable would not be looked at.
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *UTF8, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted
