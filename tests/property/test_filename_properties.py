"""Whatever a stranger writes, it becomes one visible, harmless path component."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.files import MAX_NAME_BYTES, WORKING_PREFIX
from worker.storage.filenames import name_from_disposition, name_from_url, numbered, safe_name

#: Any text at all, and texts made of what names are attacked with.
CHARACTERS = st.sampled_from(
    "~-1¹$:*?\"'%;=éü語\u0301\u0327\u0338\u1100\u1161\ud800"
    "./\\ \u00a0\u2003\u2028\u202e\u200d\u200c\u3164\0\n\x85\U0001f3f4\U000e0067\u017f"
)
DEVICES = st.sampled_from(["con", "NUL", "aux", "COM1", "com¹", "lpt9", "CONIN$", "conout$"])
PIECES = st.sampled_from(
    ["../", "..\\", "C:\\", WORKING_PREFIX, ".tar.gz", ".mkv", "%2F", "e\u0301" * 30]
)
#: Embeddings, overrides and isolates of direction, and what ends them.
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=400),
    st.lists(st.one_of(CHARACTERS, DEVICES, PIECES), max_size=40).map("".join),
)


def assert_harmless(name: str) -> None:
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert PurePosixPath(name).parts == (name,)
    assert "\\" not in name
    assert name not in {".", ".."}
    assert not name.casefold().startswith(WORKING_PREFIX)
    assert name == name.strip() == name.rstrip(".")
    assert " " * 5 not in name
    assert unicodedata.category(name[0])[0] != "M"
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in name)
    assert not any(unicodedata.bidirectional(char) in DIRECTIONS for char in name)


@given(texts)
@example(" . .x")
@example("." + "x" * 300)
@example("x" * 195 + " .mkv")
@example("x" * 195 + "." * 10 + ".mkv")
@example("con :x")
@example("x" * 10_000)
@example("e" + "\u0301" * 10_000)
@example("\u0301con")
@example("a\u200d\u0301")
@example(" \u0301 \u0301x")
@example("." * 300 + "b" * 300)
@example(".\u200dseen-x")
@example("\U0001f3f4\U000e0067" * 200)
def test_a_safe_name_is_one_visible_component(text: str) -> None:
    assert_harmless(safe_name(text))


@given(texts)
def test_making_safe_twice_changes_nothing_more(text: str) -> None:
    once = safe_name(text)
    assert safe_name(once) == once


@given(texts, st.from_regex(r"\.[a-z0-9]{1,8}", fullmatch=True))
def test_the_suffix_of_a_name_is_kept_however_long_it_is(text: str, suffix: str) -> None:
    name = safe_name(f"film {text}x{suffix}")
    assert name.endswith(suffix)
    assert len(name) > len(suffix)


#: Header lines arrive as one character an octet.
octets = st.text(st.characters(max_codepoint=0xFF), max_size=200)


FORMS = [
    *("filename*=UTF-8''{}; filename*0={}", "filename*0*={}; filename*1={}", 'filename="{}'),
    *("filename={}, {}", 'filename="{}", {}', "{}; {}={}"),
    *("filename={}", 'filename="{}"', "{}", "filename*0={}", 'filename=a; filename="{}"'),
    *("filename*=UTF-8''{}", "filename*={}", "filename*={}''%41", "filename*=unicode_escape''{}"),
]


@given(octets, st.sampled_from(FORMS))
def test_no_header_breaks_the_parser(text: str, form: str) -> None:
    name = name_from_disposition("attachment; " + form.replace("{}", text))
    if name is not None:
        assert_harmless(name)


TOKENS = st.sampled_from(
    [
        *(
            "attachment",
            "inline",
            "filename",
            "filename*",
            "filename*0",
            "filename*0*",
            "filename*1*",
        ),
        *(
            "=",
            ";",
            ",",
            " ",
            '"',
            "\\",
            "'",
            "%",
            "%41",
            "%E9",
            "UTF-8",
            "iso-8859-1",
            "''",
            "a.txt",
        ),
        *("\xe9", "\xc3\xa9", "\0", "\t", "/", ".."),
    ]
)


@given(st.lists(TOKENS, max_size=40).map("".join))
def test_no_header_of_the_right_words_in_any_order_breaks_the_parser(header: str) -> None:
    name = name_from_disposition(header)
    if name is not None:
        assert_harmless(name)


@pytest.mark.parametrize(
    "piece", ['"', 'filename="', ";", ",", "filename=a,", "filename*1=", '=\\"', "a="]
)
def test_a_long_header_takes_no_long_time(piece: str) -> None:
    """What grows with the square of its length would run into the test's time limit."""
    name_from_disposition("attachment; " + piece * 200_000)


@given(st.text(st.characters(codec="ascii", min_codepoint=0x21, exclude_characters="?#[]")))
def test_every_path_gives_a_safe_name(path: str) -> None:
    assert_harmless(name_from_url(f"http://example.com/{path}"))


@given(texts, st.integers(1, 9_999))
def test_a_numbered_name_is_another_component_with_its_suffix(text: str, number: int) -> None:
    name = safe_name(text)
    other = numbered(name, number)
    assert other != name
    assert PurePosixPath(other).parts == (other,)
    assert other.endswith(PurePosixPath(name).suffix)
    assert len(other.encode()) <= 255
