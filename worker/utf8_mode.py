"""Python's UTF-8 mode (PEP 540): file names are UTF-8 in every locale.

In a locale like de_DE.ISO-8859-1, or in C without coercion, Python cannot write a Japanese file name,
and writes an umlaut as other bytes than most programs do.
"""

from __future__ import annotations

import os
import sys

#: Options for each Python process that this project starts.
UTF8 = ("-X", "utf8")


def ensure() -> None:
    """Return if file names are UTF-8; else replace this process by the same one in UTF-8 mode.

    Call it first in a program: only open descriptors survive the replacement.
    """
    if sys.getfilesystemencoding().lower() == "utf-8":
        return
    # The variable is for children; the option is for -E and -I, which ignore variables.
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *UTF8, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted
