"""The key of a local stack: made once, by the first process, and private."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domain.errors import SettingsError
from seen_local.secret_key import local_secret_key
from settings import Settings


def test_it_is_made_once_however_many_want_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: local_secret_key(tmp_path), range(64)))
    assert len(keys) == 1
    (key,) = keys
    assert Settings(secret_key=key).secret_keys == (key,)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("secret.key", 0o600)
    assert local_secret_key(tmp_path) == key


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_file_without_a_key_is_reported_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"secret\.key"):
        local_secret_key(tmp_path)
    assert path.read_bytes() == content
