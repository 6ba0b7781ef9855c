"""`/metrics` for Prometheus: the state of the deployment, the same from every process of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from api.authentication import Reader
from api.documented import problems
from api.services import TheServices
from domain.access import visible_user
from domain.errors import ForbiddenError
from tasks.api.monitoring import Metric, Monitoring

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics in Prometheus' text format, or in OpenMetrics.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(),
    },
)
def metrics(
    services: TheServices,
    principal: Reader,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Return jobs by state, queues, rates and the health of all parts; for admins and viewers."""
    if visible_user(principal) is not None:
        raise ForbiddenError(
            "Metrics are of the jobs of all users: an admin or a viewer reads them."
        )
    encode, content_type = choose_encoder(accept)
    collected: Any = _Collected(Monitoring(services.runtime).read())
    return Response(encode(collected), media_type=content_type)


class _Collected:
    """What prometheus_client takes as a registry."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics as prometheus_client has them."""
        for metric in self._found:
            labels = [metric.label] if metric.label else []
            family = GaugeMetricFamily(metric.name, metric.text, labels=labels)
            for label, value in metric.values.items():
                family.add_metric([label] if metric.label else [], value)
            yield family
