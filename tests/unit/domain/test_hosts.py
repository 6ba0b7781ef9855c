"""One spelling for each host, whatever spelling it came in, and a sentence for what is none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.hosts import HostError, host_in_url, normal_host

SPELLINGS = [
    # names
    ("Example.ORG", "example.org"),
    ("example.org.", "example.org"),
    ("ex%61mple.org", "example.org"),
    ("%65%78ample%2Eorg", "example.org"),
    ("EX%C3%84MPLE.org", "xn--exmple-cua.org"),
    ("my_host", "my_host"),
    ("_dmarc.example", "_dmarc.example"),
    ("a-.tumblr.example", "a-.tumblr.example"),
    ("xn--STRAE-OQA.example", "xn--strae-oqa.example"),
    # UTS 46, non-transitional
    ("straße.invalid", "xn--strae-oqa.invalid"),
    ("stra%C3%9Fe.invalid", "xn--strae-oqa.invalid"),
    ("STRASSE.invalid", "strasse.invalid"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("βόλος.example", "xn--nxasmm1c.example"),
    ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
    ("例え。jp", "xn--r8jz45g.jp"),
    ("a．b｡c", "a.b.c"),
    ("ｅｘａｍｐｌｅ.org", "example.org"),
    ("exam\u00adple.org", "example.org"),
    ("ex\u200bample.org", "example.org"),
    # What IDNA 2008 leaves out, and works.
    ("i❤.ws", "xn--i-7iq.ws"),
    ("☕.example", "xn--53h.example"),
    ("😀😃.example", "xn--e28hga.example"),
    ("straße❤.example", "xn--strae-oqa2410e.example"),
    ("ab--ü.example", "xn--ab---3ra.example"),
    # Where a joiner joins nothing it cannot be seen, and is dropped as IDNA 2003 did.
    ("ex\u200dample.org", "example.org"),
    ("👩\u200d🚀.ws", "xn--rq8ho7a.ws"),
    # IPv4, as inet_aton reads it
    ("192.0.2.7", "192.0.2.7"),
    ("127.1", "127.0.0.1"),
    ("127.0.1", "127.0.0.1"),
    ("0x7f.1", "127.0.0.1"),
    ("0X7F.0.0.1", "127.0.0.1"),
    ("0177.0.0.1", "127.0.0.1"),
    ("0177.0.0.01", "127.0.0.1"),
    ("2130706433", "127.0.0.1"),
    ("0x7f000001", "127.0.0.1"),
    ("017700000001", "127.0.0.1"),
    ("127.0.0.1.", "127.0.0.1"),
    ("%31%36%39.254.169.254", "169.254.169.254"),
    ("１２７。０。０。１", "127.0.0.1"),
    ("①②⑦.0.0.1", "127.0.0.1"),
    ("0", "0.0.0.0"),
    ("0x", "0.0.0.0"),
    ("4294967295", "255.255.255.255"),
    ("1.65535", "1.0.255.255"),
    ("10.1.256", "10.1.1.0"),
    # IPv6
    ("[2001:DB8:0::1]", "2001:db8::1"),
    ("2001:db8:0:0::1", "2001:db8::1"),
    ("[::1]", "::1"),
    ("[0000:0:0:0:0:0:0:0001]", "::1"),
    ("[::ffff:127.0.0.1]", "127.0.0.1"),
    ("[::FFFF:7f00:1]", "127.0.0.1"),
    ("[64:ff9b::10.0.0.1]", "64:ff9b::a00:1"),
    ("[fe80::1%25eth0]", "fe80::1%eth0"),
    ("[fe80::1%eth0]", "fe80::1%eth0"),
    ("fe80:0::1%eth0", "fe80::1%eth0"),
    ("[fe80::1%2525]", "fe80::1%25"),
]

REFUSED = [
    ("", "no host name"),
    (".", "no host name"),
    ("%2e", "no host name"),
    ("\u200b", "no host name"),
    ("a..b", "two in a row"),
    (".a", "begins with a dot"),
    ("a.org..", "two in a row"),
    ("a b", "no ' '"),
    ("a%20b", "no ' '"),
    ("a\tb", r"no '\\t'"),
    ("a%00b", r"no '\\x00'"),
    ("a%0d%0ab", r"no '\\r'"),
    ("a\x7fb", r"no '\\x7f'"),
    ("user@a", "no '@'"),
    ("user%40a", "no '@'"),
    ("a\\b", "no"),
    ("a%5cb", "no"),
    ("a/b", "no '/'"),
    ("a%2fb", "no '/'"),
    ("℀.org", "no '/'"),
    ("a%3a80", "no ':'"),
    ("a%23b", "no '#'"),
    ("a%3fb", r"no '\?'"),
    ("a%25b", "no '%'"),
    ("%2531", "no '%'"),
    ("a%zz", "no '%'"),
    ("a<b", "no '<'"),
    ("a\x85b", "IDNA"),
    ("%FF.org", "UTF-8"),
    ("b%fccher.example", "UTF-8"),
    ("b\ud800", "UTF-8"),
    ("\ufffd.org", "IDNA"),
    ("txt.\u202eexe", "IDNA"),
    ("\u0301a.org", "IDNA"),
    ("aא.org", "IDNA"),
    ("ü" * 70 + ".example", "IDNA.*63"),
    ("x" * 254, "253"),
    ("256.0.0.1", "IPv4"),
    ("127.0.0.256", "IPv4"),
    ("4294967296", "IPv4"),
    ("1.2.65536", "IPv4"),
    ("1.2.3.4.5", "IPv4"),
    ("09.0.0.1", "IPv4"),
    ("0x7g.1", "IPv4"),
    ("example.1", "IPv4"),
    ("example.0x7f", "IPv4"),
    ("1..2", "two in a row"),
    ("[]", "IPv6"),
    ("[::1", "IPv6"),
    ("::1]", "IPv6"),
    ("[127.0.0.1]", "IPv6"),
    ("[::1]x", "IPv6"),
    ("[v1.fe80]", "IPv6"),
    ("example.org:80", "IPv6"),
    ("http://example.org", "IPv6"),
    ("[1::2::3]", "IPv6"),
    ("[::1%25eth0]", "zone"),
    ("[2001:db8::1%25a]", "zone"),
    ("[fe80::1%25]", "IPv6"),
    ("[fe80::1%25a/b]", "IPv6"),
]


@pytest.mark.parametrize(("text", "host"), SPELLINGS)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert normal_host(text) == host
    assert normal_host(host) == normal_host(host_in_url(host)) == host


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_is_no_host_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(HostError, match=says) as caught:
        normal_host(text)
    sentence = str(caught.value)
    assert len(sentence) < 130
    assert sentence.isprintable()


PIECES = st.sampled_from(
    [
        "a",
        "Z",
        "0",
        "1",
        "0x",
        "7f",
        "127",
        ".",
        "..",
        "。",
        "%2e",
        "%31",
        "%25",
        "%C3%9F",
        "ß",
        "ü",
        "❤",
        "א",
        "ا",
        "\u200d",
        "\u200c",
        "́",
        "-",
        "_",
        "xn--",
        ":",
        "::",
        "[",
        "]",
        "%",
        "@",
        "\\",
        "/",
        "fe80",
        "ffff",
        "eth0",
        "2130706433",
        "。",
        "１",
        "\xad",
        "\x00",
    ]
)


@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=20).map("".join)))
@example("\U0010ffff")
@example("1" * 5000)
@example("0x" + "f" * 5000)
@example("\u0300" * 10_000)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    try:
        host = normal_host(text)
    except HostError:
        return
    assert host.isascii()
    assert host
    assert normal_host(host) == normal_host(host_in_url(host)) == host
