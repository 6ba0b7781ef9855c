"""Names in the cells of a terminal."""

from __future__ import annotations

import pytest

from cli.output.text_width import clip, pad, shorten, width

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
NAMES = {
    "plain": "The.Name.Of.A.Series.S01E07.1080p.x265.mkv",
    "wide": "映画の長い名前のファイルです.mp4",
    "combining": "e\u0301" * 40 + ".bin",
    "right to left": "שם ארוך מאוד של קובץ אחד.mkv",
    "emoji": "\U0001f3ac" * 20 + ".mov",
    "emoji of several characters": FAMILY * 10 + ".mov",
    "variation selector": "\u2764\ufe0f" * 12 + ".png",
    "no extension": "a-name-without-any-extension-at-all",
    "long extension": "short.an-extension-that-is-none",
    "hidden": ".a-hidden-file-with-a-long-name",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("cells", [*range(30), 60, 200])
def test_shortened_name_fits_and_padded_one_fills(name: str, cells: int) -> None:
    assert width(shorten(name, cells)) <= cells
    assert width(pad(name, cells)) == cells
    assert width(clip(name, cells)) <= cells
    if width(name) <= cells:
        assert shorten(name, cells) == name


@pytest.mark.parametrize(
    ("name", "cells", "shown"),
    [
        (NAMES["plain"], 30, "The.Name.Of.A.S…1080p.x265.mkv"),
        (NAMES["plain"], 10, "The.N….mkv"),
        (NAMES["plain"], 8, "The….mkv"),
        (NAMES["plain"], 7, "The.Na…"),
        (NAMES["wide"], 15, "映画の長…す.mp4"),
        (NAMES["long extension"], 12, "short.an-ex…"),
        ("a\u0301b\u0301c\u0301d\u0301", 3, "a\u0301b\u0301…"),
        (NAMES["plain"], 0, ""),
    ],
)
def test_middle_of_a_name_is_left_out_and_its_extension_stays(
    name: str, cells: int, shown: str
) -> None:
    assert shorten(name, cells) == shown


def test_no_character_is_torn_apart() -> None:
    for cells in range(1, 25):
        assert "\ufe0f" not in shorten(NAMES["variation selector"], cells).replace(
            "\u2764\ufe0f", ""
        )
        assert shorten(NAMES["combining"], cells).replace("e\u0301", "").strip("….bin") == ""
