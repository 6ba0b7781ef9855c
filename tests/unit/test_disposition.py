"""Content-Disposition: the samples of RFC 6266 and RFC 8187, and what servers send instead."""

from __future__ import annotations

import pytest

from worker.files import name_from_disposition


@pytest.mark.parametrize(
    ("header", "name"),
    [
        # RFC 6266, section 5
        ("Attachment; filename=example.html", "example.html"),
        ('INLINE; FILENAME= "an example.html"', "an example.html"),
        ("attachment; filename*= UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=utf-8''%e2%82%ac%20rates; filename=\"EURO rates\"", "€ rates"),
        # RFC 8187, section 3.2.3
        ("attachment; filename*=UTF-8''%c2%a3%20and%20%e2%82%ac%20rates", "£ and € rates"),
        ("attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
        # No name
        ("attachment", None),
        ("inline; foo=bar", None),
        ('attachment; filename=""', None),
        ("", None),
        (None, None),
        # An extended form that cannot be read gives way to the plain one.
        ("attachment; filename=plain.txt; filename*=x-nonsense''%41", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=utf-8''%FF", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=undefined''%41", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=idna''%FF", "plain.txt"),
        # As sent in the wild
        ('attachment; filename="a\\"b.txt"', 'a"b.txt'),
        ('attachment; filename="semi;colon.txt"', "semi;colon.txt"),
        ("attachment;filename=no-space.txt;", "no-space.txt"),
        # Not allowed, but what else could be meant.
        ('filename="bare.txt"', "bare.txt"),
        # UTF-8 octets in a plain name, as HTTP headers arrive: one character an octet.
        ('attachment; filename="Ã¼ber.txt"', "über.txt"),
        ('attachment; filename="\u00fcber.txt"', "über.txt"),
        # What Python takes for a charset, and nobody else does.
        ("attachment; filename=plain.txt; filename*=unicode_escape''%5Cx41", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=utf-7''%2BAGE-", "plain.txt"),
        ("attachment; filename=plain.txt; filename*=utf\0-8''a", "plain.txt"),
        ("attachment; filename*=Windows-1252''%80.txt", "€.txt"),
        ("attachment; filename*=''no-charset.txt", "no-charset.txt"),
        # Tricks
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\..\\\\boot.ini"', "boot.ini"),
        ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("attachment; filename*=UTF-8''%2e%2e", "download"),
        ("attachment; filename*=UTF-8''a%00b%0d%0a.txt", "ab.txt"),
        ("attachment; filename*=UTF-8''txt.%E2%80%AEexe", "txt.exe"),
        ('attachment; filename=".htaccess"', "htaccess"),
    ],
)
def test_the_name_of_a_header(header: str | None, name: str | None) -> None:
    assert name_from_disposition(header) == name
