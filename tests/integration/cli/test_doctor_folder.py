"""What `seen doctor` finds about a data folder that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings as settings_module
from cli.diagnostics.run import examine


@pytest.mark.parametrize("below", ["", "below"])
def test_doctor_names_a_data_folder_that_is_a_file(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("SEEN_DATA_DIR", str(file / below))
    monkeypatch.delenv("SEEN_CACHE_ADDR", raising=False)
    monkeypatch.delenv("SEEN_DATABASE_URL", raising=False)
    settings_module.load.cache_clear()
    findings = examine()
    settings_module.load.cache_clear()
    (finding,) = [one for one in findings if one.level.value == "problem"]
    assert finding.what == "data folder"
    assert finding.message.startswith(f"The data folder {file / below} cannot be used: ")
    assert [one.what for one in findings][:2] == ["version", "settings"]
