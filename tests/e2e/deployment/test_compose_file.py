"""docker-compose.yml says what the deployment needs: parts, limits, rights, checks and volumes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settings import PREFIX, Settings
from tests.support.services.compose import (
    COMPOSE,
    LASTING,
    OURS,
    ROOT,
    SERVICES,
    seconds,
)


def megabytes(size: str) -> float:
    """What a Dragonfly size such as "1gb" is in megabytes."""
    match = re.fullmatch(r"(\d+)(mb|gb)", size)
    assert match, size
    return int(match[1]) * {"mb": 1, "gb": 1024}[match[2]]


def dragonfly_flags() -> dict[str, str]:
    program, *flags = SERVICES["dragonfly"]["command"]
    assert program == "dragonfly"
    return {name: value for name, _, value in (flag.partition("=") for flag in flags)}


def test_every_part_of_the_service_is_there() -> None:
    assert set(SERVICES) == {"dragonfly", "postgres"} | OURS
    assert SERVICES["migrate"]["command"] == ["seen", "db", "upgrade"]
    assert SERVICES["worker"]["command"] == ["seen", "worker", "--queue", "downloads"]
    assert SERVICES["worker-maintenance"]["command"][-1] == "maintenance"


def test_the_store_never_evicts_and_has_the_memory_it_asks_for() -> None:
    flags = dragonfly_flags()

    assert "--cache_mode" not in flags
    assert megabytes(flags["--maxmemory"]) >= 256 * int(flags["--proactor_threads"])


def test_the_store_saves_into_one_file_on_its_volume() -> None:
    flags = dragonfly_flags()

    assert flags["--dbfilename"]
    assert "{" not in flags["--dbfilename"], "a name with a time in it fills the disk"
    assert len(flags["--snapshot_cron"].split()) == 5
    assert f"dragonfly:{flags['--dir']}" in SERVICES["dragonfly"]["volumes"]


def test_the_store_has_a_password_that_no_command_line_shows() -> None:
    environment = SERVICES["dragonfly"]["environment"]

    assert environment["DFLY_requirepass"].startswith("${SEEN_CACHE_PASSWORD:?")
    assert environment["REDISCLI_AUTH"] == environment["DFLY_requirepass"]
    assert not any("PASSWORD" in str(service.get("command")) for service in SERVICES.values())


def test_only_who_downloads_or_submits_has_the_key() -> None:
    given = {name: SERVICES[name]["environment"]["SEEN_SECRET_KEY"] for name in OURS}

    assert given.pop("worker") == "${SEEN_SECRET_KEY:-}"
    assert set(given.values()) == {""}, "it stands in .env, which everybody is given"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]

    assert re.match(r"v?\d+\.\d+", tag), tag


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_what_runs_on_is_checked_restarted_and_given_time_to_end(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= check.keys()
    assert seconds(check["timeout"]) < seconds(check["interval"])
    assert seconds(service["stop_grace_period"]) >= 30


@pytest.mark.parametrize("name", ["worker", "worker-maintenance"])
def test_a_worker_ends_by_itself_before_it_is_killed(name: str) -> None:
    grace = seconds(SERVICES[name]["stop_grace_period"])

    assert grace >= Settings.model_fields["drain_timeout"].default + 5
    assert SERVICES[name]["init"], "it passes the signal on"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    published = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in published)
    assert SERVICES[name].get("network_mode") is None
    assert bool(published) == (name == "flower")


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    assert "/tmp" in service["tmpfs"]
    assert service.get("privileged") is None
    assert service.get("user") is None, "the image's own, which is not root"


@pytest.mark.parametrize(
    ("name", "setting"),
    [*((name, "SEEN_DATA_DIR") for name in sorted(LASTING)), ("worker", "SEEN_DOWNLOAD_DIR")],
)
def test_folders_that_are_written_do_not_lie_on_the_read_only_disk(name: str, setting: str) -> None:
    service = SERVICES[name]
    mounted = [volume.partition(":")[2] for volume in service.get("volumes", [])]

    folder = Path(service["environment"][setting])

    assert any(folder.is_relative_to(place) for place in [*mounted, *service["tmpfs"]])


@pytest.mark.parametrize("name", sorted(LASTING))
def test_nothing_starts_before_the_schema_is_there(name: str) -> None:
    wanted = SERVICES[name]["depends_on"]

    assert wanted["migrate"]["condition"] == "service_completed_successfully"
    assert wanted["dragonfly"]["condition"] == "service_healthy"


def test_volumes_are_named_and_each_is_used() -> None:
    used = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }

    assert used == set(COMPOSE["volumes"])


def test_the_example_names_every_variable_and_only_real_ones() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    required = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(re.findall(r"^#?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert wanted <= example.keys()
    assert all(example[name] == "" for name in required), "an example has no passwords in it"
    settings = {name.removeprefix(PREFIX).lower() for name in example if name.startswith(PREFIX)}
    assert settings <= Settings.model_fields.keys()


def test_every_setting_in_the_file_is_one() -> None:
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith(PREFIX):
                assert name.removeprefix(PREFIX).lower() in Settings.model_fields
