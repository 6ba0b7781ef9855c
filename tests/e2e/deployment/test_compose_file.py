"""docker-compose.yml says what the deployment needs: parts, limits, rights, checks and volumes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import PREFIX, Settings, file_field, is_secret
from tests.support.services.compose import (
    COMPOSE,
    LASTING,
    OURS,
    PASSWORDS,
    ROOT,
    SERVICES,
    filled_in,
    seconds,
)


def megabytes(size: str) -> float:
    """What a size such as Dragonfly's "1gb" or Compose's "1g" is in megabytes."""
    match = re.fullmatch(r"(\d+)([mg])b?", size)
    assert match, size
    return int(match[1]) * {"m": 1, "g": 1024}[match[2]]


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


def test_the_store_is_not_killed_before_it_refuses_writes() -> None:
    limit = megabytes(SERVICES["dragonfly"]["mem_limit"])

    assert limit >= 1.25 * megabytes(dragonfly_flags()["--maxmemory"])


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────

#: The variable of `.env` for each secret, and the services that get it.
SECRETS = {
    "cache_password": ("SEEN_CACHE_PASSWORD", OURS | {"dragonfly"}),
    "postgres_password": (
        "POSTGRES_PASSWORD",
        {"postgres", "migrate", "worker", "worker-maintenance", "api"},
    ),
    "flower_password": ("SEEN_FLOWER_PASSWORD", {"flower"}),
    "secret_key": ("SEEN_SECRET_KEY", {"worker", "worker-maintenance", "api"}),
    "proxy": ("SEEN_PROXY", {"worker", "worker-maintenance"}),
}


def settings_of(name: str, env_file: dict[str, str]) -> dict[str, str]:
    """The environment of a service's container, without what is empty."""
    declared = filled_in(COMPOSE["services"][name].get("environment", {}), env_file)
    # What env_file passes on, unless the service has it itself.
    passed_on = env_file if name in OURS else {}
    return {key: value for key, value in {**passed_on, **declared}.items() if value}


def test_every_secret_is_listed_here() -> None:
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}

    assert files == {name: f"${{{SECRETS[name][0]}_FILE:-/dev/null}}" for name in SECRETS}


@pytest.mark.parametrize("secret", list(SECRETS))
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_only_services_that_need_a_secret_get_it(service: str, secret: str) -> None:
    variable, users = SECRETS[secret]

    given = settings_of(service, {**PASSWORDS, variable: "SECRET"})

    assert ("SECRET" in given.values()) == (service in users)
    assert (secret in SERVICES[service]["secrets"]) == (service in users)


@pytest.mark.parametrize("secret", list(SECRETS))
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_secret_in_a_file_is_mounted_where_the_service_reads_it(
    service: str, secret: str
) -> None:
    variable, users = SECRETS[secret]

    given = settings_of(service, {**PASSWORDS, variable: "", f"{variable}_FILE": "./host"})

    read = {name for name, value in given.items() if value == f"/run/secrets/{secret}"}
    if service == "dragonfly":
        assert not read, "its entry point reads the file"
    elif service in users:
        (name,) = read
        assert name.endswith("_FILE")
        assert given.get(name.removesuffix("_FILE"), "") == "", "both at once are refused"
    else:
        assert not read
    # Compose passes POSTGRES_PASSWORD_FILE on, which no process of ours reads.
    left = {name for name, value in given.items() if value == "./host"}
    assert left <= {"POSTGRES_PASSWORD_FILE"}


def test_no_command_line_shows_a_password() -> None:
    for service in COMPOSE["services"].values():
        assert "PASSWORD" not in str(service.get("command"))


def test_files_with_passwords_are_not_committed() -> None:
    names = [".env", "secrets/cache_password"]
    ignored = subprocess.run(
        ["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ignored.stdout.split() == names


def test_without_passwords_compose_refuses_the_file() -> None:
    for name in PASSWORDS.keys() - {"SEEN_FLOWER_PASSWORD"}:
        others = {key: value for key, value in PASSWORDS.items() if key != name}
        with pytest.raises(KeyError, match=name):
            filled_in(COMPOSE["services"], others)


# ── limits and rights ───────────────────────────────────────────────────────────────────────────


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
    assert bool(published) == (name in {"api", "flower"})


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "/tmp" in service["tmpfs"]
    assert service.get("privileged") is None
    # The images of others start as root, and become their own user.
    starts_as_root = {"CHOWN", "DAC_READ_SEARCH", "FOWNER", "SETGID", "SETUID"}
    assert set(service.get("cap_add", [])) == (set() if name in OURS else starts_as_root)


def test_only_what_has_the_files_runs_as_another_user() -> None:
    """The image's own user is not root."""
    given = {name: service.get("user") for name, service in SERVICES.items()}

    assert (given.pop("worker"), given.pop("api")) == ("10001:10001", "10001:10001")
    assert set(given.values()) == {None}
    for name in ("worker", "api"):
        user = COMPOSE["services"][name]["user"]
        assert filled_in(user, {"DOWNLOADS_OWNER": "1000:100"}) == "1000:100"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_logs_memory_and_processes_are_limited(name: str) -> None:
    service = SERVICES[name]

    assert service["logging"]["driver"] == "json-file"
    assert re.fullmatch(r"\d+m", service["logging"]["options"]["max-size"])
    assert int(service["logging"]["options"]["max-file"]) > 1
    assert megabytes(service["mem_limit"]) >= 256
    assert 64 <= int(service["pids_limit"]) <= 1024


def test_a_worker_has_the_threads_and_the_memory_it_needs() -> None:
    """It was measured: docs/benchmarks.md."""
    most = Settings.model_fields["download_concurrency"].default

    assert int(SERVICES["worker"]["pids_limit"]) >= 15 + most
    assert megabytes(SERVICES["worker"]["mem_limit"]) > 315 + 50


LIMITS = {
    "LOG_MAX_SIZE": ("logging", SERVICES),
    "LOG_MAX_FILES": ("logging", SERVICES),
    "DRAGONFLY_MEMORY": ("mem_limit", ["dragonfly"]),
    "DRAGONFLY_MAXMEMORY": ("command", ["dragonfly"]),
    "POSTGRES_MEMORY": ("mem_limit", ["postgres"]),
    "WORKER_MEMORY": ("mem_limit", ["worker"]),
    "WORKER_PIDS": ("pids_limit", ["worker"]),
    "WORKER_STOP_GRACE_PERIOD": ("stop_grace_period", ["worker", "worker-maintenance"]),
    "MAINTENANCE_MEMORY": ("mem_limit", ["worker-maintenance"]),
    "BEAT_MEMORY": ("mem_limit", ["beat"]),
    "API_MEMORY": ("mem_limit", ["api"]),
    "FLOWER_MEMORY": ("mem_limit", ["flower"]),
}


@pytest.mark.parametrize("variable", list(LIMITS))
def test_a_limit_is_set_in_the_env_file(variable: str) -> None:
    key, users = LIMITS[variable]

    changed = filled_in(COMPOSE["services"], {**PASSWORDS, variable: "987"})

    for name, service in changed.items():
        assert ("987" in str(service.get(key))) == (name in users), name


# ── networks ────────────────────────────────────────────────────────────────────────────────────

NETWORKS = {
    "dragonfly": ["store"],
    "postgres": ["database"],
    "migrate": ["database"],
    "worker": ["store", "database", "origins"],
    "worker-maintenance": ["store", "database", "origins"],
    "beat": ["store"],
    "api": ["store", "database", "web"],
    "flower": ["store", "web"],
}


def test_each_service_is_on_the_networks_that_it_needs() -> None:
    assert {name: service["networks"] for name, service in SERVICES.items()} == NETWORKS


def test_only_download_workers_reach_other_machines() -> None:
    networks = COMPOSE["networks"]

    assert set(networks) == {"store", "database", "origins", "web"}
    assert {name for name in networks if (networks[name] or {}).get("internal")} == {
        "store",
        "database",
    }
    # This network has to be reached from the host; nothing masquerades what leaves it.
    assert networks["web"]["driver_opts"] == {
        "com.docker.network.bridge.enable_ip_masquerade": "false"
    }


def test_other_projects_join_the_networks_by_fixed_names() -> None:
    networks = filled_in(COMPOSE["networks"], {})

    assert (networks["store"]["name"], networks["database"]["name"]) == (
        "seen-store",
        "seen-database",
    )
    assert networks["store"]["attachable"] is networks["database"]["attachable"] is True


# ── folders, order, variables ───────────────────────────────────────────────────────────────────


def test_files_go_to_a_volume_or_to_a_folder_of_the_host() -> None:
    (volume,) = COMPOSE["services"]["worker"]["volumes"]

    assert filled_in(volume, {}) == "downloads:/downloads"
    assert filled_in(volume, {"DOWNLOADS_FOLDER": "/srv/media"}) == "/srv/media:/downloads"


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
    required = set(re.findall(r"\$\{(\w+)\?", text))
    example = dict(re.findall(r"^#?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert required
    assert wanted <= example.keys()
    assert all(example[name] == "" for name in required), "an example has no passwords in it"
    assert {name for name in example if name.startswith(PREFIX)} <= set(known_variables())
    assert set(LIMITS) <= wanted


def test_every_setting_in_the_file_is_one() -> None:
    for service in SERVICES.values():
        names = {name for name in service.get("environment", {}) if name.startswith(PREFIX)}
        assert names <= set(known_variables())


def known_variables() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        yield f"{PREFIX}{name.upper()}"
        if is_secret(field):
            yield f"{PREFIX}{file_field(name).upper()}"
