"""`/metrics` for Prometheus: the whole deployment, the same from every process of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder

from api.authentication import Reader
from api.documented import problems
from api.services import TheServices
from domain.access import visible_user
from domain.errors import ForbiddenError
from tasks.api.monitoring import Gauge, Monitoring
from worker.metrics.metric import Kind, Metric
from worker.metrics.reading import Total

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
    """Return jobs, queues, health, and what all processes have counted; for admins and viewers."""
    if visible_user(principal) is not None:
        raise ForbiddenError(
            "Metrics are of the jobs of all users: an admin or a viewer reads them."
        )
    monitoring = Monitoring(services.runtime, services.readiness)
    encode, content_type = _format(accept)
    collected: Any = _Collected(monitoring.read(), monitoring.read_counted())
    return Response(encode(collected), media_type=content_type)


def _format(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """Return the encoder and the type that fit an Accept header; those of plain text for a wrong one."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return choose_encoder("")


class _Collected:
    """What prometheus_client takes as a registry."""

    def __init__(self, gauges: list[Gauge], counted: list[tuple[Metric, list[Total]]]) -> None:
        self._gauges, self._counted = gauges, counted

    def collect(self) -> Iterator[Family]:
        """Yield the metrics as prometheus_client has them."""
        for gauge in self._gauges:
            family = GaugeMetricFamily(
                gauge.name, gauge.text, labels=[gauge.label] if gauge.label else []
            )
            for label, value in gauge.values.items():
                family.add_metric([label] if gauge.label else [], value)
            yield family
        for metric, totals in self._counted:
            yield _family(metric, totals)


def _family(metric: Metric, totals: list[Total]) -> Family:
    name, text, labels = metric.name, metric.text, list(metric.labels)
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for total in totals:
            buckets = [(_bound(text), count) for text, count in total.buckets]
            histogram.add_metric(total.labels, buckets, total.value)
        return histogram
    of_kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = of_kind(name, text, labels=labels)
    for total in totals:
        family.add_metric(total.labels, total.value)
    return family


def _bound(text: str) -> str:
    """Return the bound of a bucket as OpenMetrics has it."""
    return text if text == "+Inf" else str(float(text))
