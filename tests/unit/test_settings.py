"""Settings: defaults that run on one machine, and every wrong variable named with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import settings
from domain.errors import SettingsError
from settings import Settings, load


@pytest.fixture(autouse=True)
def _read_afresh() -> Iterator[None]:
    """`load` reads once a process; each test here is such a process."""
    load.cache_clear()
    yield
    load.cache_clear()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    return str(caught.value)


def test_the_defaults_describe_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_DATA_DIR", "/data")
    found = load()
    assert found.cache_addr == "127.0.0.1:6379"
    assert found.cache_namespace == "seen"
    assert found.cache_db == 0
    assert (found.lock_ttl, found.progress_ttl, found.unpersisted_ttl) == (30, 30, 86_400)
    assert found.files_dir == Path("/data/downloads")
    assert found.sqlalchemy_url() == "sqlite:////data/seen.db"
    assert found.celery_broker_url() == "redis://127.0.0.1:6379/1"
    assert found.allowed_networks == ()


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load()
    monkeypatch.setenv("SEEN_CACHE_DB", "7")
    assert load() is first


def test_the_documented_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_CACHE_ADDR", "dragonfly:6379")
    monkeypatch.setenv("SEEN_CACHE_PASSWORD", "pw")
    monkeypatch.setenv("SEEN_CACHE_DB", "3")
    found = load()
    assert (found.cache_addr, found.cache_db) == ("dragonfly:6379", 3)
    assert found.cache_password.get_secret_value() == "pw"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SEEN_{name.upper()}", "")
    assert load() == Settings()
    assert load().files_dir == load().data_dir / "downloads"


WRONG = [
    ("SEEN_CACHE_ADDR", "6379", "host:port"),
    ("SEEN_CACHE_ADDR", "dragonfly:0", "host:port"),
    ("SEEN_CACHE_ADDR", "dragonfly:65536", "host:port"),
    ("SEEN_CACHE_ADDR", "dragonfly:６３７９", "host:port"),
    ("SEEN_CACHE_ADDR", "redis://dragonfly:6379", "host:port"),
    ("SEEN_CACHE_ADDR", "::1", "host:port"),
    ("SEEN_CACHE_ADDR", "::1:6379", r"\[::1\]:6379"),
    ("SEEN_CACHE_ADDR", "[zz]:6379", "host:port"),
    ("SEEN_CACHE_ADDR", "[1:2]:6379", "parts expected"),
    ("SEEN_CACHE_ADDR", "unix://relative", "absolute"),
    ("SEEN_CACHE_DB", "-1", "at least 0"),
    ("SEEN_CACHE_DB", "one", "whole number"),
    ("SEEN_CACHE_TLS", "maybe", "true or false"),
    ("SEEN_CACHE_NAMESPACE", "a:b", "pattern"),
    ("SEEN_CACHE_TIMEOUT", "0", "more than 0"),
    ("SEEN_CACHE_TIMEOUT", "nan", "at most"),
    ("SEEN_CACHE_TIMEOUT", "inf", "at most"),
    ("SEEN_BROKER_URL", "amqp://broker", "redis://"),
    ("SEEN_RESULT_URL", "db+sqlite://x", "redis://"),
    ("SEEN_DATABASE_URL", "mysql://host/x", "postgresql://"),
    ("SEEN_DATABASE_URL", "sqlite", "not a valid URL"),
    ("SEEN_DATABASE_URL", "postgresql://[::1/x", "not a valid URL"),
    ("SEEN_DATABASE_URL", "postgresql://host:port/x", "not a valid URL"),
    ("SEEN_DOWNLOAD_CONCURRENCY", "0", "at least 1"),
    ("SEEN_MAX_ATTEMPTS", "1001", "at most 1000"),
    ("SEEN_ALLOWED_NETWORKS", "10.0.0.1/8", "host bits"),
    ("SEEN_ALLOWED_NETWORKS", "everything", "IPv4 or IPv6"),
    ("SEEN_USER_AGENT", "a\nb", "pattern"),
    ("SEEN_FLOWER_PORT", "99999", "65535"),
    *(
        ("SEEN_FLOWER_ADDRESS", address, "IP address or a host name")
        for address in (
            *("localhost:5555", "[::1]:5555", "127.0.0.1:5555", "http://localhost", "[localhost]"),
            *("999.0.0.1", "[]", "a b", "-a", "*", "[::1", "::1]", "1::2::3", "ü.example"),
        )
    ),
    ("SEEN_CACHE_DB", "9" * 100, "at most 1023"),
    ("SEEN_FLOWER_USER", "a:b", "pattern"),
    ("SEEN_LOG_LEVEL", "LOUD", "DEBUG"),
    ("SEEN_MIN_FREE_BYTES", "-1", "at least 0"),
    ("SEEN_HOST_CONNECTIONS", "-1", "at least 0"),
    ("SEEN_MAX_RATE", "100", "0, or at least 1024"),
    ("SEEN_MAX_BYTES", "-1", "at least 0"),
    ("SEEN_CONNECTIONS", "33", "at most 32"),
    ("SEEN_NETRC", "/", "not a file"),
    *(("SEEN_SECRET_KEY", keys, "16 characters") for keys in ("x" * 15, f"{'x' * 16},y", ",")),
    *(
        ("SEEN_PROXY", url, "socks5h://")
        for url in ("proxy:3128", "ftp://proxy:21", "http://", "http://[::1", "http://proxy:0")
    ),
    ("SEEN_PROXY", "http://proxy:3128/path", "ends with the port"),
]


@pytest.mark.parametrize(("name", "value", "says"), WRONG)
def test_a_wrong_variable_is_named_with_its_value_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=says) as caught:
        load()
    text = str(caught.value)
    assert text.startswith(f"{name}=")
    assert "Its meaning: " in text
    if "SecretStr" not in str(Settings.model_fields[name.removeprefix("SEEN_").lower()].annotation):
        assert repr(value) in text


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refusal(monkeypatch, SEEN_CACHE_DB="x", SEEN_FLOWER_PORT="0").splitlines()
    assert [line.partition("=")[0] for line in lines] == ["SEEN_CACHE_DB", "SEEN_FLOWER_PORT"]


def test_a_variable_in_lower_case_is_shown_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "SEEN_CACHE_DB='x'" in refusal(monkeypatch, seen_cache_db="x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEEN_DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("SEEN_BROKER_URL", "amqp://user:hunter2@host/db"),
        ("SEEN_RESULT_URL", "amqp://user:hunter2@host/db"),
        ("SEEN_CACHE_ADDR", "redis://user:hunter2@host:port"),
    ],
)
def test_no_refusal_shows_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    text = refusal(monkeypatch, **{name: value})
    assert "hunter2" not in text
    assert "***" in text


def test_secrets_do_not_show_in_the_settings_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_CACHE_PASSWORD", "hunter2")
    monkeypatch.setenv("SEEN_DATABASE_URL", "postgresql://me:hunter2@host/db")
    monkeypatch.setenv("SEEN_BROKER_URL", "redis://:hunter2@host/0")
    monkeypatch.setenv("SEEN_FLOWER_PASSWORD", "hunter2")
    monkeypatch.setenv("SEEN_PROXY", "http://me:hunter2@proxy:3128")
    monkeypatch.setenv("SEEN_SECRET_KEY", "hunter2-hunter2-hunter2")
    found = load()
    assert "hunter2" not in repr(found)
    assert "hunter2" not in found.model_dump_json()


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("HEARTBEAT_INTERVAL", "PROGRESS_TTL"),
        ("FLUSH_INTERVAL", "PROGRESS_TTL"),
        ("RETRY_BACKOFF", "RETRY_BACKOFF_MAX"),
        ("LOCK_TTL", "ORPHAN_AFTER"),
    ],
)
def test_two_variables_that_contradict_each_other_are_both_named(
    monkeypatch: pytest.MonkeyPatch, shorter: str, longer: str
) -> None:
    text = refusal(monkeypatch, **{f"SEEN_{shorter}": "901", f"SEEN_{longer}": "900.5"})
    assert f"SEEN_{shorter} (901) must not be more than SEEN_{longer} (900.5)." in text


def test_networks_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_ALLOWED_NETWORKS", " 127.0.0.0/8, ::1/128 ,")
    assert load().allowed_networks == ("127.0.0.0/8", "::1/128")


def test_trusted_proxies_are_a_comma_separated_list_of_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().api_trusted_proxies == ()
    monkeypatch.setenv("SEEN_API_TRUSTED_PROXIES", " 10.0.0.5, fd00::/64 ,")
    load.cache_clear()
    assert load().api_trusted_proxies == ("10.0.0.5", "fd00::/64")
    for wrong in ("10.0.0.5/24", "proxy.example.org", "*"):
        load.cache_clear()
        assert "SEEN_API_TRUSTED_PROXIES" in refusal(monkeypatch, SEEN_API_TRUSTED_PROXIES=wrong)


def test_several_keys_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().secret_keys == ()
    monkeypatch.setenv("SEEN_SECRET_KEY", f" {'n' * 16}, {'o' * 16},")
    load.cache_clear()
    assert load().secret_keys == ("n" * 16, "o" * 16)


def test_a_netrc_file_that_everybody_may_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "netrc"
    path.touch(0o604)
    path.chmod(0o604)
    assert f"chmod o-r {path}" in refusal(monkeypatch, SEEN_NETRC=str(path))
    path.chmod(0o640)
    assert load().netrc == path
    path.unlink()  # only download workers need it
    load.cache_clear()
    assert load().netrc == path


def test_folders_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEEN_DATA_DIR", "data")
    monkeypatch.setenv("SEEN_DOWNLOAD_DIR", "~/files")
    assert load().data_dir == tmp_path / "data"
    assert load().files_dir == tmp_path / "home/files"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("[::]", "::"),
        ("fe80::1%lo", "fe80::1%lo"),
        ("0.0.0.0", "0.0.0.0"),
        ("localhost", "localhost"),
        ("flower.example.org", "flower.example.org"),
        ("", "127.0.0.1"),
    ],
)
def test_flower_listens_on_an_address_or_a_host(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    monkeypatch.setenv("SEEN_FLOWER_ADDRESS", given)
    assert load().flower_address == used


def test_relative_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "home")
    assert "HOME='home'" in refusal(monkeypatch, SEEN_DATA_DIR="~/data")


def test_unknown_user_in_a_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "~nobody-here is not" in refusal(monkeypatch, SEEN_DATA_DIR="~nobody-here/data")


@pytest.mark.parametrize("field", ["data_dir", "cache_addr", "cache_password", "cache_db"])
def test_bytes_that_are_not_utf8_are_refused(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    text = refusal(monkeypatch, **{f"SEEN_{field.upper()}": "/a\udcff"})
    assert text == f"SEEN_{field.upper()} is not valid: it is not UTF-8 text."


def test_home_folder_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "SEEN_DATA_DIR has no default, because the path is not UTF-8" in refusal(
        monkeypatch, HOME="/a\udcff"
    )


UNKNOWN = [
    ("SEEN_CACHE_ADR", "Did you mean SEEN_CACHE_ADDR?"),
    ("SEEN_CACHE_ADDRES", "Did you mean SEEN_CACHE_ADDR?"),
    ("seen_log_levl", "Did you mean SEEN_LOG_LEVEL?"),
    ("SEEN_CACHE_PASSWORDFILE", "Did you mean SEEN_CACHE_PASSWORD_FILE?"),
    ("SEEN_CACHE_NEAR_ENTRY", "Did you mean SEEN_CACHE_NEAR_ENTRIES?"),
    ("SEEN_REDIS_URL", "docs/configuration.md lists all settings."),
    ("SEEN_", "docs/configuration.md lists all settings."),
]


@pytest.mark.parametrize(("name", "remedy"), UNKNOWN)
@pytest.mark.parametrize("value", ["1", ""])
def test_unknown_variable_is_logged_once_with_the_nearest_setting(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    remedy: str,
    value: str,
) -> None:
    settings._warn_of_unknown_name.cache_clear()
    monkeypatch.setenv(name, value)
    assert settings.unknown_variables() == [f"{name} is not a setting and has no effect. {remedy}"]
    load()
    load.cache_clear()
    load()
    assert caplog.messages == settings.unknown_variables()


def test_all_settings_and_variables_of_tests_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*Settings.model_fields, *settings.FORMER_NAMES.values(), "cache_password_file"]
    for name in names:
        monkeypatch.setenv(f"SEEN_{name.upper()}", "")
        monkeypatch.setenv(f"seen_{name}", "")
    monkeypatch.setenv("SEEN_TEST_FULL", "1")
    assert settings.unknown_variables() == []


def test_every_setting_says_what_it_is() -> None:
    fields = Settings.model_fields.items()
    assert [name for name, field in fields if not field.description] == []


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.Settings().cache_db = 5  # type: ignore[misc]


@pytest.mark.parametrize(("field", "former"), list(settings.FORMER_NAMES.items()))
def test_a_variable_is_read_by_its_former_name_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, field: str, former: str
) -> None:
    settings._warn_of_former_name.cache_clear()
    monkeypatch.setenv(f"SEEN_{former.upper()}", "7")
    assert getattr(load(), field) == 7
    assert field in load().model_fields_set
    load.cache_clear()
    load()
    (warning,) = caplog.messages  # once a process
    assert f"SEEN_{former.upper()} is now called SEEN_{field.upper()}; it still works" in warning


def test_of_both_names_of_a_variable_the_present_one_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings._warn_of_former_name.cache_clear()
    monkeypatch.setenv("SEEN_WAKE_INTERVAL", "7")
    monkeypatch.setenv("SEEN_REQUEUE_INTERVAL", "9")
    assert load().requeue_interval == 9
    (warning,) = caplog.messages
    assert "SEEN_WAKE_INTERVAL is ignored" in warning


def test_a_wrong_value_is_reported_under_the_name_that_was_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = refusal(monkeypatch, SEEN_WAKE_INTERVAL="soon")
    assert message.startswith("SEEN_WAKE_INTERVAL='soon' is not valid")
