"""The composition of the API: `create_app` puts routes, checks and error handlers together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from api import problems
from api.events.hub import hub_of
from api.middleware.access_log import AccessLog
from api.middleware.body import BodyLimit
from api.middleware.guard import Guard
from api.middleware.headers import ResponseHeaders
from api.middleware.metrics import RequestMetrics
from api.middleware.proxy import ProxyHeaders
from api.models.downloads import ManyDownloads
from api.routes import (
    accounts,
    actions,
    downloads,
    events,
    files,
    health,
    limits,
    metrics,
    page,
    session,
    submit,
    webhooks,
)
from api.services import Services
from domain.errors import SeenError
from seen_local.version import version
from worker import tracing
from worker.logs import setup as log_setup
from worker.metrics.catalog import PROCESSES
from worker.metrics.loop_lag import LoopLag
from worker.runtime import Runtime

#: Routes that wait for SQL or the store at once, beside `api.services.SUBMIT_THREADS`. SQLAlchemy has
#: connections for all; further requests wait for a thread, and not for a connection.
THREADS = 15

#: `actions` before `downloads`: its path would fit the routes of one download, too.
_ROUTES = (
    submit,
    health,
    metrics,
    actions,
    downloads,
    events,
    files,
    limits,
    session,
    webhooks,
    accounts,
    page,
)

_DESCRIPTION = """Downloads, by HTTP: submit, follow, control, fetch.

Every path but the health checks, this document and the sign-in needs an API key
(`Authorization: Bearer seen_…`) or a session. Errors are problem details (RFC 9457) with a `code`.
A job of another user is answered as one that does not exist."""


def create_app(services: Services) -> FastAPI:
    """Return the application; it serves requests in any process that has these services."""
    app = FastAPI(
        title="SEEN downloads",
        version=version(),
        description=_DESCRIPTION,
        docs_url=None,  # both pages load scripts of other hosts
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    for module in _ROUTES:
        app.include_router(module.router)
    app.include_router(health.checked)
    if services.runtime.settings.aria2_rpc:
        _add_rpc(app)
    app.add_exception_handler(SeenError, problems.on_seen_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid_request)
    app.add_exception_handler(Exception, problems.on_bug)
    _add_checks(app, services)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign] # FastAPI's way to change it
    return app


def _add_checks(app: FastAPI, services: Services) -> None:
    """Add what each request passes before a route, and each response after it."""
    # The last one is the outermost: all others know the client, and refusals have the headers, too.
    app.add_middleware(BodyLimit, limits=services.limits)
    app.add_middleware(Guard, services=services)
    app.add_middleware(ResponseHeaders, services=services)
    _observe(app)
    app.add_middleware(RequestMetrics, instruments=services.runtime.instruments)
    app.add_middleware(ProxyHeaders, trusted=services.runtime.settings.api_trusted_proxies)


def _observe(app: FastAPI) -> None:
    """Log and trace requests, as far as this process does that."""
    if log_setup.uses_json():
        app.add_middleware(AccessLog)
    if tracing.active is not None:
        from api.middleware.traces import Traces

        app.add_middleware(Traces, recorder=tracing.active)


def _add_rpc(app: FastAPI) -> None:
    """Add aria2's JSON-RPC."""
    from api.rpc.http import router as by_http  # others need not load it
    from api.rpc.socket import router as by_socket

    app.include_router(by_http)
    app.include_router(by_socket)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Read changes for those who watch, as long as the process serves.

    What is yielded is the state of each request, and of uvicorn's connections.
    """
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    _prepare_routes(app)
    runtime: Runtime = app.state.services.runtime
    hub = hub_of(runtime)
    runtime.instruments.set_gauge(PROCESSES, "api", read=lambda: 1)
    LoopLag(runtime.instruments, "api").start()
    runtime.metrics.start()
    reading = asyncio.create_task(hub.run(), name="events")
    try:
        yield {"hub": hub}
    finally:
        reading.cancel()
        await asyncio.to_thread(app.state.services.threads.shutdown)
        await asyncio.to_thread(runtime.metrics.close)


def _prepare_routes(app: FastAPI) -> None:
    """Build what checks requests and answers, for which FastAPI waits until a path is matched.

    The first caller would wait for it for a quarter of a second.
    """
    scope = {"type": "http", "method": "GET", "path": "/none", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(scope)


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the models that FastAPI does not find by itself."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = found["components"]["schemas"]
        for model in (problems.Problem, ManyDownloads):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = found
    return app.openapi_schema
