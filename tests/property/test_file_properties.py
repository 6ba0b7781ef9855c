"""Whatever a stranger writes, it becomes one visible, harmless path component."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from domain.job import MAX_NAME_BYTES
from worker.files import name_from_disposition, name_from_url, numbered, safe_name

#: Any text at all, and texts made of what names are attacked with.
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=400),
    st.text(
        st.sampled_from("./\\ \u2003\u2028\u202e\0\n\x85~-conCON1:*?\"'%;=éü語\ud800"), max_size=60
    ),
)


def assert_harmless(name: str) -> None:
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert PurePosixPath(name).parts == (name,)
    assert "\\" not in name
    assert not name.startswith(".")
    assert name == name.lstrip()
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in name)
    assert not PureWindowsPath(name.partition(":")[0]).is_reserved()


@given(texts)
@example(" . .x")
@example("." + "x" * 300)
@example("x" * 195 + " .mkv")
def test_a_safe_name_is_one_visible_component(text: str) -> None:
    assert_harmless(safe_name(text))


@given(texts)
def test_making_safe_twice_changes_nothing_more(text: str) -> None:
    once = safe_name(text)
    assert safe_name(once) == once


#: Header lines arrive as one character an octet.
octets = st.text(st.characters(max_codepoint=0xFF), max_size=200)


@given(octets, st.sampled_from(["filename={}", 'filename="{}"', "filename*=UTF-8''{}", "{}"]))
def test_no_header_breaks_the_parser(text: str, form: str) -> None:
    name = name_from_disposition("attachment; " + form.replace("{}", text))
    if name is not None:
        assert_harmless(name)


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
