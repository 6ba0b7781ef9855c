"""The client and the OpenAPI document of the service say the same.

A field, a path or a parameter that only one of them has is found here.

A field that is new in the API gets a default in the client, so that it works with a service of before.
"""

from __future__ import annotations

import datetime
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import seen_client
from seen_client import AsyncClient, Client, SeenClientError, models
from seen_client.models import Priority, Status
from seen_client.operations import downloads, webhooks
from tests.integration.client.calls import calls
from tests.integration.client.conftest import Serve
from tests.support.clients.scripted_service import Received, problem_reply
from tests.support.services.http_api import HttpApi

#: What answers have.
ANSWERS: Mapping[str, type] = {
    "ActionResult": models.ActionResult,
    "AttemptDict": models.DeliveryAttempt,
    "Deliveries": models.Deliveries,
    "DeliveryDict": models.Delivery,
    "DownloadPage": models.DownloadPage,
    "EventDict": models.HistoryEvent,
    "FieldProblem": models.FieldProblem,
    "History": models.History,
    "HostLimit": models.HostLimit,
    "JobDict": models.Download,
    "JobLimit": models.DownloadLimit,
    "JobNumbers": models.Totals,
    "Limits": models.Limits,
    "Problem": models.Problem,
    "RefusedDownload": models.RefusedDownload,
    "SubmitResult": models.SubmitResult,
    "SubmitResults": models.SubmitResults,
    "TotalLimit": models.TotalLimit,
    "DownloadsLimit": models.ConcurrencyLimit,
    "Webhook": models.Webhook,
    "WebhookSecret": models.WebhookSecret,
    "WhoAmI": models.Identity,
}
ENUMS: Mapping[str, type[StrEnum]] = {"JobStatus": Status, "Priority": Priority}
#: Checked by what is sent (`test_everything_is_sent`).
BODIES = {"LimitChanges", "ManyActions", "ManyDownloads", "PriorityChange", "Selection", "SignIn"}
BODIES |= {"WebhookChange"}
#: Literal types of arguments.
PARAMETERS: dict[str, tuple[Any, str]] = {"DeliveryState": (webhooks.deliveries, "state")}
PARAMETERS |= {"Order": (downloads.list_downloads, "sort")}
#: Of probes, of Prometheus, and of the administration of users, keys and processes.
UNUSED = {"Health", "Readiness", "HealthReport", "PartDict", "WorkerDict", "KeyCreation", "KeyDict"}
UNUSED |= {"Keys", "NewKeyDict", "NewLinkDict", "UserChange", "UserCreation", "UserDict", "Users"}
UNUSED_PATHS = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
UNUSED_PATHS |= {("HEAD", "/v1/downloads/{job_id}/file"), ("GET", "/v1/health")}
UNUSED_PATHS |= {("GET", "/v1/users"), ("POST", "/v1/users"), ("PATCH", "/v1/users/{name}")}
UNUSED_PATHS |= {("POST", "/v1/users/{name}/link"), ("DELETE", "/v1/keys/{prefix}")}
UNUSED_PATHS |= {("GET", "/v1/keys"), ("POST", "/v1/keys")}
#: Differences, each with its reason.
KNOWN_DIFFERENCES = {
    # A problem within an answer about several downloads has none.
    ("Problem", "instance", "required"),
    # `{"type": "object"}`: OpenAPI does not say that it is one.
    ("SubmitResult", "problem", "type"),
}
#: The header Idempotency-Key has the key of the whole request.
UNSENT_FIELDS = {"idempotency_key"}


@pytest.fixture(scope="module")
def document(api: HttpApi) -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    found: dict[str, Any] = api.client().get("/openapi.json").json()
    return found


def test_every_schema_has_its_place(document: dict[str, Any]) -> None:
    places = [set(ANSWERS), set(ENUMS), BODIES, set(PARAMETERS), UNUSED]
    assert sorted(document["components"]["schemas"]) == sorted(
        name for one in places for name in one
    )
    assert {one for one in vars(models).values() if is_dataclass(one)} == {
        *ANSWERS.values(),
        *(models.Cookie, models.DownloadRequest, models.Selection),
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_fields_and_types_are_the_services(document: dict[str, Any], name: str) -> None:
    schema, model = document["components"]["schemas"][name], ANSWERS[name]
    hints = typing.get_type_hints(model)
    assert list(schema["properties"]) == [one.name for one in fields(model)]
    differences = set()
    for one in fields(model):
        is_needed = one.default is MISSING and one.default_factory is MISSING
        if is_needed is not (one.name in schema.get("required", ())):
            differences.add((name, one.name, "required"))
        said, expected = _of_schema(schema["properties"][one.name]), _of_hint(hints[one.name])
        if is_needed or one.default is not None:
            is_same = said == expected
        else:
            is_same = said - {"null"} == expected - {"null"}
        if not is_same:
            differences.add((name, one.name, "type"))
    assert differences == {one for one in KNOWN_DIFFERENCES if one[0] == name}


@pytest.mark.parametrize("name", ENUMS)
def test_values_are_the_services(document: dict[str, Any], name: str) -> None:
    assert document["components"]["schemas"][name]["enum"] == [one.value for one in ENUMS[name]]


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_of_arguments_are_the_services(document: dict[str, Any], name: str) -> None:
    operation, argument = PARAMETERS[name]
    hint = typing.get_type_hints(operation)[argument]
    literal = next((one for one in typing.get_args(hint) if typing.get_args(one)), hint)
    assert document["components"]["schemas"][name]["enum"] == list(typing.get_args(literal))


def _of_schema(schema: Mapping[str, Any]) -> set[str]:
    """The kinds of JSON that a schema allows."""
    if "anyOf" in schema:
        return set().union(*map(_of_schema, schema["anyOf"]))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"string"} if name in ENUMS or name in PARAMETERS else {name}
    if schema["type"] == "array":
        return {f"array of {sorted(_of_schema(schema['items']))}"}
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return {f"object of {sorted(_of_schema(values)) if isinstance(values, dict) else 'any'}"}
    return {schema["type"]}


_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def _of_hint(hint: Any) -> set[str]:
    """The kinds of JSON that a type is made from."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return set().union(*map(_of_hint, arguments))
    if origin is tuple:
        return {f"array of {sorted(_of_hint(arguments[0]))}"}
    if origin is Mapping:
        return {f"object of {sorted(_of_hint(arguments[1]))}"}
    if is_dataclass(hint):
        return {next(name for name, model in ANSWERS.items() if model is hint)}
    if hint is datetime.datetime or issubclass(hint, StrEnum):
        return {"string"}
    return {_PLAIN[hint]}


# ── requests ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Each operation of the document, by its method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _operation_of(operations: Mapping[tuple[str, str], Any], received: Received) -> tuple[str, str]:
    """The operation that a request is for; one without parameters in its path goes before others."""
    path = urlsplit(received.target).path
    fitting = [
        (method, template)
        for method, template in operations
        if method == received.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    return min(fitting, key=lambda one: one[1].count("{"))


def test_everything_is_sent(
    operations: Mapping[tuple[str, str], dict[str, Any]],
    document: dict[str, Any],
    serve: Serve,
    tmp_path: Path,
) -> None:
    """Each operation, each parameter of its query, each field of its body, and nothing else."""
    service = serve(lambda _: problem_reply(400))
    table = calls(tmp_path)
    with Client(service.url, "seen_x_y", retry_for=0) as client:
        for name, call in table.items():
            with pytest.raises(SeenClientError):
                call.run(client)
            assert service.requests, name
    sent: dict[tuple[str, str], set[str]] = {}
    for received in service.requests:
        names = sent.setdefault(_operation_of(operations, received), set())
        names.update(f"query {name}" for name, _ in parse_qsl(urlsplit(received.target).query))
        names.update(f"header {name}" for name in received.headers)
        names.update(f"body {one}" for one in _names(json.loads(received.body or b"{}")))
    assert set(operations) - set(sent) == UNUSED_PATHS
    for key, names in sent.items():
        wanted = _wanted(operations[key], document)
        fixed = {"header " + one for one in _COMMON}
        assert names - fixed == wanted, f"{key}: only one side has {(names - fixed) ^ wanted}"


_COMMON = {"host", "accept", "accept-encoding", "connection", "user-agent", "authorization"}
_COMMON |= {"content-type", "content-length"}


def _wanted(operation: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    """The parameters and the fields of the body that an operation has."""
    found = {
        f"{one['in']} {one['name']}"
        for one in operation.get("parameters", ())
        if one["in"] != "path"
    }
    # Of all lists and streams, the client pages and continues by itself.
    found -= {"query cursor", "query before"}
    if operation.get("requestBody"):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        found |= {f"body {name}" for name in _properties(schema, document) - UNSENT_FIELDS}
    if "file" in operation["operationId"]:
        found.add("header range")
    return found


def _properties(schema: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    """The names of all fields of a schema, and of those in it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _properties(document["components"]["schemas"][name], document)
    names: set[str] = set()
    for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        names |= _properties(one, document)
    for name, one in schema.get("properties", {}).items():
        names |= {name} | _properties(one, document)
    return names | (_properties(schema["items"], document) if "items" in schema else set())


def _names(content: Any) -> set[str]:
    """The names of all fields of a body; those of mappings with free names are left out."""
    if isinstance(content, list):
        return set().union(*map(_names, content)) if content else set()
    if not isinstance(content, dict):
        return set()
    free = {"headers", "hosts", "jobs"}
    return set(content).union(*(_names(one) for name, one in content.items() if name not in free))


# ── the two clients ─────────────────────────────────────────────────────────────────────────────


def _methods(client: type) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")}


def test_both_clients_have_the_same_methods(tmp_path: Path) -> None:
    named = {name.partition(":")[0] for name in calls(tmp_path)}
    assert _methods(Client) == _methods(AsyncClient) == named | {"close"}
    for name in named:
        one, other = vars(Client)[name], vars(AsyncClient)[name]
        assert one.__wrapped__ is other.__wrapped__, name
        assert one.__doc__ == other.__doc__, name


def test_what_is_public_is_exported() -> None:
    assert sorted(seen_client.__all__) == sorted(set(seen_client.__all__))
    assert all(hasattr(seen_client, name) for name in seen_client.__all__)
