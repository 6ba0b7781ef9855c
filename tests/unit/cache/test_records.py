"""Fields that a model does not have: refused from a program, ignored in stored data. All models."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import cache
from cache import STORED, CacheCounts, CacheStats, DownloadProgress, SessionData, UserData
from cache import models as m
from cache.downloads.progress_hash import read_hash
from cache.platform import codec
from cache.records import Record, SensitiveRecord
from domain.errors import InvalidInputError

NOW = datetime.now(UTC)
STATS = {
    "server": "valkey", "version": "9", "db_size": 1, "used_memory": 1, "max_memory": 0,
    "eviction_policy": None, "hits": 1, "misses": 1, "hit_ratio": 0.5, "evicted_keys": 0,
    "expired_keys": 0, "connected_clients": 1, "uptime_seconds": 1, "keyspace": {},
    "families": {}, "scanned": 1, "scanned_all": True,
}  # fmt: skip
STATE = {"limit": 5, "window": 60.0, "remaining": 4, "reset": 1.0}

#: Every model of the cache, with fields that it accepts.
MODELS: dict[type[Record], dict[str, Any]] = {
    SessionData: {"session_id": "s-1", "user_id": "ada", "expires_at": NOW},
    UserData: {"id": "ada", "email": "ada@example.com"},
    DownloadProgress: {"job_id": "job-1", "status": "downloading"},
    CacheCounts: {"hits": 1},
    CacheStats: STATS,
    m.RateLimit: {"limit": 5, "window": 60},
    m.RateState: STATE,
    m.RateDecision: {"allowed": True, "retry_after": 0.0, "states": [STATE]},
    m.DownloadTotals: {"active": 1, "bytes_per_second": 2.0, "seconds": 5.0},
    m.DownloadPage: {"items": [], "next_after": None},
    m.UserInvalidation: {"sessions": 1, "profile": 1, "catalogs": 1, "downloads": 1},
    m.MaintenanceReport: {"stale": 1, "gone": 1, "stats": STATS},
    m.WorkerHeartbeat: {"name": "w@h", "process": "p"},
    m.BeatStatus: {"process": "h:1", "ticked_at": NOW, "age_seconds": 1.0},
    m.HealthReport: {"ok": True, "write_ms": 1.0, "read_ms": 1.0, "delete_ms": 1.0},
}

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def models_of_the_package() -> Iterator[type[BaseModel]]:
    for module in pkgutil.walk_packages(cache.__path__, "cache."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseModel):
                yield value


def test_every_model_of_the_package_is_tried_here() -> None:
    bases = {Record, SensitiveRecord}
    found = {one for one in models_of_the_package() if one.__module__.startswith("cache.")} - bases
    assert found == set(MODELS)


@each_model
def test_an_unknown_field_is_refused_from_a_program(model: type[Record]) -> None:
    fields = MODELS[model]
    assert model(**fields) == model.model_validate(fields)
    refused = pytest.raises((ValidationError, InvalidInputError), match="newer_field")
    with refused:
        model(**{**fields, "newer_field": 1})
    with refused:
        model.model_validate({**fields, "newer_field": 1})
    with refused:
        model.model_validate_json('{"newer_field": 1}')


@each_model
def test_an_unknown_field_is_ignored_in_stored_data(model: type[Record]) -> None:
    known = model(**MODELS[model])
    text = known.model_dump_json(by_alias=False)
    newer = f'{{"newer_field": {{"a": 1}}, {text[1:]}'.encode()
    assert codec.decode(newer, model) == known
    assert codec.decode(b"[" + newer + b"]", list[model]) == [known]  # type: ignore[valid-type]
    assert model.model_validate_json(newer, context=STORED) == known


@each_model
def test_a_model_reads_what_it_has_written(model: type[Record]) -> None:
    known = model(**MODELS[model])
    assert codec.decode(codec.encode(known), model) == known
    if model not in (m.BeatStatus, CacheCounts):  # which programs only read
        assert model.model_validate_json(known.model_dump_json()) == known


def test_a_field_of_a_newer_worker_does_not_hide_the_progress() -> None:
    found = read_hash("job-1", {b"status": b"downloading", b"newer_field": b"1", b"fence": b"2"})
    assert found == DownloadProgress.model_validate(
        {"job_id": "job-1", "status": "downloading", "fence": 2}
    )


def test_models_of_callers_keep_their_own_rule() -> None:
    class Strict(BaseModel, extra="forbid"):
        a: int

    class Open(BaseModel, extra="allow"):
        a: int

    with pytest.raises(codec.UnreadableValueError):
        codec.decode(b'{"a": 1, "b": 2}', Strict)
    found = codec.decode(b'{"a": 1, "b": 2}', Open)
    assert found is not None
    assert found.model_extra == {"b": 2}


# ── copies ──────────────────────────────────────────────────────────────────────────────────────


def construct(model: Any, **values: Any) -> Any:
    return model.model_construct(**values)


@each_model
def test_a_copy_is_checked_as_by_the_constructor(model: type[Record]) -> None:
    known = model(**MODELS[model])
    refused = pytest.raises((ValidationError, InvalidInputError), match="newer_field")
    with refused:
        known.model_copy(update={"newer_field": 1})
    with refused:
        construct(model, **MODELS[model], newer_field=1)
    with refused:
        known.copy(update={"newer_field": 1})
    for name in MODELS[model]:
        with pytest.raises((ValidationError, InvalidInputError), match=name):
            known.model_copy(update={name: object()})
        assert known.model_copy(update={name: MODELS[model][name]}) == known


@each_model
@pytest.mark.parametrize("deep", [False, True])
def test_round_trips_give_the_same_model(model: type[Record], deep: bool) -> None:
    known = model(**MODELS[model])
    copies = [
        known.model_copy(deep=deep),
        known.model_copy(update={}, deep=deep),
        known.model_copy(update=MODELS[model], deep=deep),
        construct(model, **{name: getattr(known, name) for name in MODELS[model]}),
        model.model_validate(known),
        copy.deepcopy(known) if deep else copy.copy(known),
        pickle.loads(pickle.dumps(known)),
    ]
    for one in copies:
        assert one == known
        assert one.model_fields_set == known.model_fields_set
        assert one.model_dump() == known.model_dump()


def test_a_copy_of_progress_checks_a_percent_and_a_time_left() -> None:
    half = DownloadProgress.model_validate(
        {"job_id": "j", "status": "downloading", "bytes_downloaded": 50, "bytes_total": 100}
    )
    full = half.model_copy(update={"bytes_downloaded": 100, "progress_percent": 100})
    assert full.progress_percent == 100
    assert half.model_copy(update={"eta_seconds": 7}) == half
    for wrong in ({"progress_percent": 90}, {"eta_seconds": -1}, {"stated_percent": 50}):
        with pytest.raises(ValidationError):
            half.model_copy(update=wrong)
    for name in ("progress_percent", "eta_seconds", "stated_percent", "stated_eta"):
        with pytest.raises(InvalidInputError, match=name):
            construct(DownloadProgress, **{name: 50})


# ── the refresh token ───────────────────────────────────────────────────────────────────────────

TOKEN = "hunter2-hunter2-hunter2"


def session(**fields: Any) -> SessionData:
    return SessionData.model_validate(
        {"session_id": "s-1", "user_id": "ada", "expires_at": NOW + timedelta(hours=1), **fields}
    )


@pytest.mark.parametrize("token", ["short", TOKEN, "ß\ud800", "x" * 1_000_000])
def test_the_constructor_keeps_the_hash_of_the_token_only(token: str) -> None:
    given = session(refresh_token=token)
    assert given.accepts(token)
    assert given.refresh_token is None
    shown = f"{given!r} {given} {given.model_dump()} {given.model_dump_json()} {vars(given)}"
    assert token not in shown
    assert session(refresh_token_sha256=given.refresh_token_sha256) == given
    assert session(refresh_token=token, refresh_token_sha256=given.refresh_token_sha256) == given


NEW_TOKEN = "correct-horse-battery-staple"


def test_a_copy_rotates_the_token() -> None:
    old = session(refresh_token=TOKEN, client="tv")
    new = old.model_copy(update={"refresh_token": NEW_TOKEN})
    assert new.accepts(NEW_TOKEN)
    assert not new.accepts(TOKEN)
    assert old.accepts(TOKEN)
    assert new.client == "tv"
    assert new.refresh_token is None
    assert NEW_TOKEN.encode() not in pickle.dumps(new)
    assert NEW_TOKEN not in f"{vars(new)} {new!r} {new.model_dump()}"
    assert old.model_copy(update=dict(new)) == new
    assert old.model_copy(update={"client": "phone"}).accepts(TOKEN)


@pytest.mark.parametrize("name", ["refresh_token", "refresh_token_sha256"])
def test_a_copy_without_a_token_accepts_none(name: str) -> None:
    assert not session(refresh_token=TOKEN).model_copy(update={name: None}).accepts(TOKEN)


@pytest.mark.parametrize("wrong", ["", b"0123456789abcdef", 5])
def test_a_copy_refuses_what_is_no_token(wrong: object) -> None:
    with pytest.raises(ValidationError, match="refresh_token"):
        session(refresh_token=TOKEN).model_copy(update={"refresh_token": wrong})


def test_no_way_into_a_session_keeps_the_token() -> None:
    given = session(refresh_token=TOKEN)
    fields = {**dict(given), "refresh_token": TOKEN}
    row = SimpleNamespace(**{**fields, "refresh_token_sha256": None})
    built = SessionData.model_validate(row, from_attributes=True)
    for one in (built, SessionData.model_validate(fields), SessionData(**fields)):
        assert one == given
        assert TOKEN not in f"{vars(one)}"
    assert built.model_dump(exclude_unset=True)["refresh_token_sha256"]
    row.refresh_token_sha256 = "0" * 64
    with pytest.raises(ValidationError, match="different tokens"):
        SessionData.model_validate(row, from_attributes=True)
    with pytest.raises(InvalidInputError, match="refresh_token") as caught:
        construct(SessionData, **fields)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["", b"0123456789abcdef", 5, ["token"], True])
def test_what_is_no_token_is_refused(token: object) -> None:
    with pytest.raises(ValidationError, match="refresh_token"):
        session(refresh_token=token)


def test_a_token_and_the_hash_of_another_are_refused() -> None:
    with pytest.raises(ValidationError, match="different tokens") as caught:
        session(refresh_token=TOKEN, refresh_token_sha256="0" * 64)
    assert TOKEN not in str(caught.value)


def test_an_error_about_another_field_does_not_show_the_token() -> None:
    with pytest.raises(ValidationError) as caught:
        SessionData.model_validate({"session_id": "s-1", "refresh_token": TOKEN})
    assert TOKEN not in f"{caught.value} {caught.value.errors()}"


@pytest.mark.parametrize("presented", [None, "", b"hunter2-hunter2-hunter2", 5, [], "\ud800"])
def test_what_a_client_presents_may_be_anything(presented: Any) -> None:
    assert not session(refresh_token=TOKEN).accepts(presented)
    assert not session().accepts(presented)


def test_a_token_that_was_stored_in_plain_is_hashed_when_it_is_read() -> None:
    stored = b'{"session_id":"s","user_id":"u","expires_at":"2100-01-01T00:00:00Z"'
    found = codec.decode(stored + b',"refresh_token":"token"}', SessionData)
    assert found is not None
    assert found.accepts("token")
