"""Cookies that origins set during one transfer, in memory: some answer only once they get theirs back.

libcurl keeps them, in one jar for each host: a cookie goes to no host but the one that set it, whatever
domain it names. The cookies that a job brings along are not among them: see `Sources.cookies_for`.
"""

from __future__ import annotations

from typing import Any

import pycurl

from domain.urls import host_of


class CookieJars:
    """The jars of one transfer. Belongs to its thread; its handles share them."""

    def __init__(self) -> None:
        self._jars: dict[str, Any] = {}

    def attach(self, handle: Any, url: str) -> None:
        """Have a request send the cookies that the host of `url` has set, and keep those it sets."""
        host = host_of(url) or ""
        if host not in self._jars:
            jar = pycurl.CurlShare()
            jar.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_COOKIE)
            self._jars[host] = jar
        handle.setopt(pycurl.SHARE, self._jars[host])
        handle.setopt(pycurl.COOKIEFILE, "")  # turns the engine on, and reads no file
