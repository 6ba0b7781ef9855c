"""Content-Disposition: one table of what servers send, and the verdict for each line.

The facts are those of RFC 6266 and RFC 8187, of Julian Reschke's collection of test cases (tc2231), and
of the tests of browsers. Where these differ, the line says which is followed.
"""

from __future__ import annotations

import pytest

from worker.storage.filenames import name_from_disposition

UTF8 = "filename*=UTF-8''"

HEADERS = [
    # RFC 6266, section 5
    ("Attachment; filename=example.html", "example.html"),
    ('INLINE; FILENAME= "an example.html"', "an example.html"),
    ("attachment; filename*= UTF-8''%e2%82%ac%20rates", "€ rates"),
    ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
    ("attachment; filename*=utf-8''%e2%82%ac%20rates; filename=\"EURO rates\"", "€ rates"),
    # RFC 8187, section 3.2.3
    (f"attachment; {UTF8}%c2%a3%20and%20%e2%82%ac%20rates", "£ and € rates"),
    ("attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
    # No name
    ("attachment", None),
    ("attachment;", None),
    ('"attachment"', None),
    ("inline; foo=bar", None),
    ('attachment; filename=""', None),
    ("attachment; filename=", None),
    ("attachment; filename", None),
    ('attachment; filename="', None),
    (f"attachment; {UTF8}", None),
    ("attachment; xfilename=a.txt", None),
    ("attachment; name=a.txt", None),
    ('attachment; example="filename=a.txt"', None),
    ('attachment; example="a\\"; filename=b.txt"', None),
    ("attachment; foo=foo filename=bar", None),
    ("attachment filename=bar", None),
    ("attachment; filename *=UTF-8''a.txt", None),
    ("attachment; filename**=a.txt", None),
    ("", None),
    (None, None),
    # Quotes and what they enclose
    ('attachment; filename="a\\"b.txt"', 'a"b.txt'),
    ('attachment; filename="f\\oo.html"', "foo.html"),
    ('attachment; filename="\\"quoting\\" tested.html"', '"quoting" tested.html'),
    ('attachment; filename="semi;colon.txt"', "semi;colon.txt"),
    ('attachment; filename="comma, too.txt"', "comma, too.txt"),
    ('attachment; foo="\\"\\\\";filename="foo.html"', "foo.html"),
    ('"foo; filename=bar;baz"; filename=qux', "qux"),
    ("attachment; filename='foo.bar'", "'foo.bar'"),
    ('attachment; filename="foo.html".txt', "foo.html"),
    ('attachment; filename=foo"bar;baz"qux', 'foo"bar'),
    # A quote that nothing closes: the name ends where the parameter would.
    ('attachment; filename="report.pdf', "report.pdf"),
    ('attachment; filename="report.pdf; size=5', "report.pdf"),
    (f'attachment; filename="a.txt; {UTF8}b.txt', "b.txt"),
    ('attachment; filename="a\\', "a"),
    # Tokens that are none
    ("attachment;filename=no-space.txt;", "no-space.txt"),
    ("attachment; filename = foo-A.html ", "foo-A.html"),
    ("attachment; filename=foo bar.html", "foo bar.html"),
    ("attachment; filename=abc,de.pdf", "abc,de.pdf"),
    ("attachment; filename=foo[1](2).html", "foo[1](2).html"),
    ("attachment; ;filename=foo", "foo"),
    ("attachment; filename=foo; trouble", "foo"),
    ("; filename=foo.html", "foo.html"),
    ("filename=foo.html; attachment", "foo.html"),
    ('filename="bare.txt"', "bare.txt"),
    ("inline; attachment; filename=foo.html", "foo.html"),
    # One form twice: the first that can be read.
    ('attachment; filename="a.txt"; filename="b.txt"', "a.txt"),
    (f"attachment; {UTF8}a.txt; {UTF8}b.txt", "a.txt"),
    (f"attachment; filename*=x-nonsense''a.txt; {UTF8}b.txt", "b.txt"),
    # Two headers that a comma joined: the first with a name.
    ("attachment; filename=a.txt, attachment; filename=b.txt", "a.txt"),
    ('attachment; filename="a.txt", attachment; filename="b.txt"', "a.txt"),
    (f'attachment; filename="a.txt", attachment; {UTF8}b.txt', "a.txt"),
    ('attachment; filename="a.txt", "b.txt"', "a.txt"),
    ("filename=a.txt, filename=b.txt", "a.txt"),
    ("inline, attachment; filename=a.txt", "a.txt"),
    ("attachment, filename=a.txt", "a.txt"),
    # Pieces (RFC 2231), which HTTP does not have and Firefox reads: before the plain form.
    (f"attachment; {UTF8}report.pdf; filename*0=report", "report.pdf"),
    ('attachment; filename*0="foo."; filename*1="html"', "foo.html"),
    ('attachment; filename*1="html"; filename*0="foo."', "foo.html"),
    ("attachment; filename*0*=UTF-8''foo-%c3%a4; filename*1=.html", "foo-ä.html"),
    ("attachment; filename*0*=UTF-8''foo-%c3; filename*1*=%a4.html", "foo-ä.html"),
    ("attachment; filename*0=a%41; filename*1*=%41", "a%41A"),
    ('attachment; filename*0="foo"; filename*01="bar"', "foo"),
    ('attachment; filename*0="foo"; filename*2="bar"', "foo"),
    ('attachment; filename*1="foo"; filename*2="bar"', None),
    ("attachment; filename=basic; filename*0=foo; filename*1=bar", "foobar"),
    ("attachment; filename*0=first; filename*0=wrong; filename=basic", "first"),
    ("attachment; filename*0*=UTF-8''A%e4B; filename=fallback", "fallback"),
    ("attachment; filename*0*=a%41", "aA"),
    (f"attachment; filename*{'1' * 5000}=a; filename=b", "b"),
    ("attachment; filename*-1=a; filename*1a=b", None),
    # An extended form that cannot be read gives way to the plain one.
    ("attachment; filename=plain.txt; filename*=x-nonsense''%41", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=utf-8''%FF", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=undefined''%41", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=idna''%FF", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=iso-8859-99''a", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=UTF-8'a.txt", "plain.txt"),
    ("attachment; filename*=utf-8''%FF", None),
    # What Python takes for a charset, and nothing else does.
    ("attachment; filename=plain.txt; filename*=unicode_escape''%5Cx41", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=utf-7''%2BAGE-", "plain.txt"),
    ("attachment; filename=plain.txt; filename*=utf\0-8''a", "plain.txt"),
    # Charsets other than UTF-8
    ("attachment; filename*=Windows-1252''%80.txt", "€.txt"),
    ("attachment; filename*=ISO-8859-1''%80.txt", "€.txt"),
    ("attachment; filename*=EUC-JP''%B7%DD%BD%D13%2Epng", "芸術3.png"),
    # Broken extended forms of which it is plain what was meant
    ("attachment; filename*=''no-charset.txt", "no-charset.txt"),
    ("attachment; filename*=no-quotes%20at-all.txt", "no-quotes at-all.txt"),
    ("attachment; filename*=\"UTF-8''foo-%c3%a4.html\"", "foo-ä.html"),
    (f"attachment; {UTF8}cafe foo.png", "cafe foo.png"),
    (f"attachment; {UTF8}it's.png", "it's.png"),
    (f"attachment; {UTF8}foo-%", "foo-%"),
    (f"attachment; {UTF8}f%oo.html", "f%oo.html"),
    (f"attachment; {UTF8}gr\xc3\xbcn.txt", "grün.txt"),
    (f"attachment; {UTF8}A-%2541.html", "A-%41.html"),
    # A plain name is no encoded one: as RFC 6266 and Firefox have it, not Chrome.
    ('attachment; filename="foo-%41.html"', "foo-%41.html"),
    ('attachment; filename="foo-%c3%a4.html"', "foo-%c3%a4.html"),
    ('attachment; filename="50%.html"', "50%.html"),
    ("attachment; filename==?ISO-8859-1?Q?foo-=E4.html?=", "=?ISO-8859-1?Q?foo-=E4.html?="),
    # Octets in a plain name: UTF-8 where they are that, else Windows-1252.
    ('attachment; filename="\xc3\xbcber.txt"', "über.txt"),
    ('attachment; filename="\xfcber.txt"', "über.txt"),
    ('attachment; filename="\x80.txt"', "€.txt"),
    ('attachment; filename="\xc3\x83\xc2\xbc.txt"', "Ã¼.txt"),  # encoded twice: once is undone
    ('attachment; filename="\xe6\x98\xa0\xe7\x94\xbb.mkv"', "映画.mkv"),
    ('attachment; filename="映画.mkv"', "映画.mkv"),
    # Paths
    ('attachment; filename="../../etc/passwd"', "passwd"),
    ('attachment; filename="/foo.html"', "foo.html"),
    ('attachment; filename="\\\\foo.html"', "foo.html"),
    ('attachment; filename="..\\\\..\\\\boot.ini"', "boot.ini"),
    (r'attachment; filename="..\..\boot.ini"', "boot.ini"),
    (r'attachment; filename="C:\new\table.txt"', "table.txt"),
    (r'attachment; filename="C:\a\"b.txt"', 'a"b.txt'),
    (f"attachment; {UTF8}..%2F..%2Fetc%2Fpasswd", "passwd"),
    (f"attachment; {UTF8}%2e%2e", "download"),
    # Tricks
    (f"attachment; {UTF8}a%00b%0d%0a.txt", "ab.txt"),
    (f"attachment; {UTF8}txt.%E2%80%AEexe", "txt.exe"),
    ("attachment; filename=IT839\x04\xb5(m8)2.pdf;", "IT839µ(m8)2.pdf"),
    ('attachment; filename=".gitignore"', ".gitignore"),
]


@pytest.mark.parametrize(("header", "name"), HEADERS)
def test_the_name_of_a_header(header: str | None, name: str | None) -> None:
    assert name_from_disposition(header) == name
