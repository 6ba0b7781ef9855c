"""The API does what its OpenAPI document says: schemathesis with all checks, on generated requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from domain.ids import new_job_id
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

EXAMPLES = 3
_SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """One that does not limit sign-ins: one of the checks presents many wrong keys."""
    settings = {"SEEN_ADDRESS_FAILURES": "100000"}
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=settings) as api:
        yield api


def test_every_answer_is_documented(api: HttpApi) -> None:
    """What the document does not allow is refused; no answer has a status or form of its own.

    Not every request that the document allows is accepted: JSON Schema cannot say what a host name is,
    or which fields go together. So that one check is left out.
    """
    schema: Any = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    faults: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        if operation.path == "/readyz" or operation.path.endswith("/events"):
            continue  # it answers 503, since this system has no workers; streams do not end
        for mode in GenerationMode:
            try:
                _check(operation, mode, api)
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # nothing of it can be wrong
            except (AssertionError, BaseExceptionGroup) as error:
                faults.append(f"{operation.label} ({mode.value}): {_text(error)}")
    assert faults == []
    assert len(operations) > 15


def _check(operation: Any, mode: GenerationMode, api: HttpApi) -> None:
    @_SETTINGS
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and "job_id" in case.path_parameters:
            case.path_parameters["job_id"] = api.job_of("ada", new_job_id()).id
        headers = {"Authorization": f"Bearer {api.keys['root']}"}
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    send()


def _text(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_text, error.exceptions))
    return " ".join(str(error).split())
