"""A part file that was just created knows its length, and has the bytes that one opened again has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"

#: What is done with a file, and the bytes that it has then.
USES: list[tuple[list[Callable[[PartFile], object]], bytes]] = [
    ([lambda part: part.truncate(0)], b""),
    ([lambda part: part.truncate(2)], bytes(2)),
    ([lambda part: part.write_at([b"abc"], 0), lambda part: part.truncate(3)], b"abc"),
    ([lambda part: part.write_at([b"abc"], 0), lambda part: part.truncate(2)], b"ab"),
    ([lambda part: part.write_at([b"abc"], 0), lambda part: part.truncate(5)], b"abc\0\0"),
    ([lambda part: part.write_at([b"c"], 2), lambda part: part.write_at([b"ab"], 0)], b"abc"),
    ([lambda part: part.write_at([b"abc"], 0), lambda part: part.discard()], b""),
    ([lambda part: part.allocate(9), lambda part: part.discard()], b""),
    ([lambda part: part.allocate(9), lambda part: part.truncate(1)], bytes(1)),
    ([lambda part: part.truncate(4), lambda part: part.discard()], b""),
    ([lambda part: part.discard(), lambda part: part.write_at([b"a"], 0)], b"a"),
]


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(("uses", "content"), USES)
def test_what_is_done_with_a_new_file_and_a_reopened_one_is_on_the_disk(
    tmp_path: Path, uses: list[Callable[[PartFile], object]], content: bytes, is_new: bool
) -> None:
    if not is_new:
        PartFile(tmp_path, JOB).close()
    with PartFile(tmp_path, JOB) as part:
        for use in uses:
            use(part)
        assert part.path.read_bytes() == content
        assert part.size == len(content)
        assert part.allocated == part.path.stat().st_blocks * 512


def test_a_checkpoint_beside_a_new_file_is_discarded_with_it(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_checkpoint(Checkpoint(etag='"a"', total=3))
        part.discard()
        assert part.checkpoint == Checkpoint()
    with PartFile(tmp_path, JOB) as part:
        assert part.checkpoint == Checkpoint()
