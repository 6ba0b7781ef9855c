"""The store and the database as URLs, read back by the libraries they are written for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.utils.url import parse_url
from sqlalchemy.engine import make_url

from cache.store.connection import reliable_policy, sync_client
from settings import Settings, parse_addr

#: Everything that means something in a URL, and something that needs more than one octet.
SECRET = "p@ss:/w?r#d%2F &+=[é"
USER = "m@e:/"


def _settings(**values: Any) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dragonfly:6379", ("dragonfly", 6379, "")),
        ("127.0.0.1:1", ("127.0.0.1", 1, "")),
        ("[::1]:6379", ("::1", 6379, "")),
        ("cache_1.internal-net:65535", ("cache_1.internal-net", 65535, "")),
        ("unix:///run/store.sock", ("", 0, "/run/store.sock")),
        ("/run/store.sock", ("", 0, "/run/store.sock")),
    ],
)
def test_an_address_is_split(text: str, parts: tuple[str, int, str]) -> None:
    assert parse_addr(text) == parts


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "redis://127.0.0.1:6379/1"),
        ({"cache_db": 4}, "redis://127.0.0.1:6379/5"),
        ({"cache_addr": "[::1]:6380"}, "redis://[::1]:6380/1"),
        ({"cache_tls": True}, "rediss://127.0.0.1:6379/1"),
        ({"cache_password": "pw"}, "redis://:pw@127.0.0.1:6379/1"),
        ({"cache_username": "me", "cache_password": "pw"}, "redis://me:pw@127.0.0.1:6379/1"),
        ({"cache_addr": "unix:///run/s.sock"}, "redis+socket:///run/s.sock?virtual_host=1"),
    ],
)
def test_the_broker_is_the_store_one_database_higher(values: dict[str, Any], url: str) -> None:
    assert _settings(**values).celery_broker_url() == url


def test_a_broker_of_its_own_is_left_alone() -> None:
    assert _settings(broker_url="redis://a/0").celery_broker_url() == "redis://a/0"


@pytest.mark.parametrize("host", ["dragonfly:6380", "[2001:db8::1]:6380"])
@pytest.mark.parametrize("tls", [False, True])
def test_kombu_and_redis_read_the_url_back(host: str, tls: bool) -> None:
    found = _settings(
        cache_addr=host, cache_db=3, cache_username=USER, cache_password=SECRET, cache_tls=tls
    )
    name, port, _ = parse_addr(host)
    url = found.celery_broker_url()
    read = parse_url(url)
    assert (read["hostname"], read["port"]) == (name, port)
    assert (read["userid"], read["password"]) == (USER, SECRET)
    assert read["virtual_host"] == "4"
    assert read["transport"] == ("rediss" if tls else "redis")
    options = redis.Redis.from_url(url).connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == (name, port, 4)
    assert (options["username"], options["password"]) == (USER, SECRET)


def test_the_cache_client_gets_what_the_settings_say() -> None:
    found = _settings(
        cache_addr="[::1]:6380",
        cache_db=3,
        cache_username=USER,
        cache_password=SECRET,
        cache_timeout=1.5,
        cache_connect_timeout=2.5,
    )
    with sync_client(found, reliable_policy(found)) as client:
        options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("::1", 6380, 3)
    assert (options["username"], options["password"]) == (USER, SECRET)
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1.5, 2.5)


def test_the_cache_client_speaks_tls_and_checks_by_default() -> None:
    found = _settings(cache_tls=True, cache_tls_ca="/ca.pem")
    with sync_client(found, reliable_policy(found)) as client:
        options = client.connection_pool.connection_kwargs
        assert client.connection_pool.connection_class is redis.SSLConnection
    assert options["ssl_cert_reqs"] == "required"
    assert options["ssl_check_hostname"] is True
    assert options["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://me:pw@host/db", "postgresql+psycopg://me:pw@host/db"),
        ("postgresql://me:pw@host/db", "postgresql+psycopg://me:pw@host/db"),
        ("postgresql+psycopg://me:pw@host/db", "postgresql+psycopg://me:pw@host/db"),
        ("postgresql:///db?host=/run/pg", "postgresql+psycopg:///db?host=/run/pg"),
        ("sqlite:////var/seen.db", "sqlite:////var/seen.db"),
    ],
)
def test_a_database_url_gets_its_driver(given: str, used: str) -> None:
    assert _settings(database_url=given).sqlalchemy_url() == used


@pytest.mark.parametrize("folder", ["/data", "/with space", "/100%25", "/a@b:c", "/ü"])
def test_the_embedded_database_lies_in_the_data_folder(folder: str) -> None:
    url = make_url(_settings(data_dir=Path(folder)).sqlalchemy_url())
    assert url.database == f"{folder}/seen.db"
