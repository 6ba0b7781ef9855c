"""The examples of docs/operations/compose.md, beside docker-compose.yml."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import Settings, file_field, is_secret, read_secret
from tests.support.services.compose import COMPOSE, SERVICES, filled_in

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations" / "compose.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def examples(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def test_the_commands_write_secrets_that_every_container_reads(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    (commands,) = examples("sh")
    script = f"umask 077\nset -eu\n{commands}"
    subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, check=True, timeout=30)

    folder = tmp_path / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in folder.iterdir()} == COMPOSE["secrets"].keys() - {"proxy"}
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o444 == 0o444
        assert re.fullmatch("[0-9a-f]{48}", read_secret(file))


def test_the_table_of_secrets_is_that_of_the_file() -> None:
    shown = dict(re.findall(r"`(\w+)_FILE=\./secrets/(\w+)`", TEXT))

    assert {secret: f"${{{variable}_FILE:-/dev/null}}" for variable, secret in shown.items()} == {
        name: secret["file"] for name, secret in COMPOSE["secrets"].items()
    }


@pytest.mark.parametrize("text", examples("yaml"))
def test_an_example_fits_the_file(text: str) -> None:
    example: dict[str, Any] = yaml.safe_load(text)
    ours = {
        network.get("name") for network in filled_in(COMPOSE["networks"], {}).values() if network
    }

    assert set(example.get("networks", {})) <= ours
    for name, service in example["services"].items():
        assert name in SERVICES or name == "backend"
        assert set(service["secrets"]) == example["secrets"].keys()
        for variable, value in service["environment"].items():
            field = variable.removeprefix("SEEN_").lower()
            known = {
                file_field(one) for one, info in Settings.model_fields.items() if is_secret(info)
            }
            assert field in known or field in Settings.model_fields
            if field in known:
                assert value.removeprefix("/run/secrets/") in example["secrets"]


def test_the_example_gives_the_broker_to_every_service_that_uses_it() -> None:
    (override,) = [
        one for one in map(yaml.safe_load, examples("yaml")) if "worker" in one["services"]
    ]
    ours = {
        name for name, service in SERVICES.items() if service.get("image", "").startswith("seen-")
    }

    assert override["services"].keys() == ours - {"migrate"}, "migrate uses the database alone"
    assert {str(one) for one in override["services"].values()} == {
        str(override["services"]["worker"])
    }


def test_the_table_of_limits_has_every_service() -> None:
    rows = re.search(r"\n## Limits\n\n\|.*?\n((?:\|.*\n)+)", TEXT)
    assert rows is not None

    assert len(rows[1].splitlines()) - 1 == len(SERVICES)
    pids = SERVICES["migrate"]["pids_limit"]
    assert f"| `migrate` | 256 MB | – | {pids} |" in rows[1]
    assert SERVICES["migrate"]["mem_limit"] == "256m"
