"""Adds what a process has counted to the totals of all processes, every few seconds."""

from __future__ import annotations

import logging
import secrets
import threading

from cache.coordination.process_metrics import MetricsReport, ProcessMetrics
from domain.errors import StoreError
from worker.metrics.instruments import Instruments
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Seconds between two reports. `cache.ttl.METRICS_OF_PROCESS` leaves room for three.
INTERVAL = 5.0

_PUBLISHING = "Metrics are not published"


class MetricsPublisher:
    """Publishes the metrics of one process.

    Args:
        instruments: of the process.
        cache: publishes them. It must not retry by itself: the next report has its sequence.
        interval: seconds between two reports.
    """

    def __init__(
        self, instruments: Instruments, cache: ProcessMetrics, *, interval: float = INTERVAL
    ) -> None:
        self._instruments, self._cache = instruments, cache
        self._interval = interval
        self._process = secrets.token_hex(8)
        self._mutex = threading.Lock()
        self._sequence = 0
        #: What may have been added, since no reply came, and the server that it was sent to.
        self._unanswered: dict[str, float] | None = None
        self._server: str | None = None
        self._outages = OutageLog(logger)
        self._thread: PeriodicThread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        if self._thread is None:
            self._thread = PeriodicThread("metrics", self._try, self._interval, first=0.0)
            self._thread.start()

    def publish(self) -> None:
        """Publish what was counted up to now.

        Raises:
            StoreError: it is published later.
        """
        with self._mutex:
            server = self._cache.server()
            if server != self._server:
                # The counts of a server that has restarted are gone. Whether those without a reply had
                # been shown is unknown; to add them here might show them twice.
                self._unanswered, self._server = None, server
            if self._unanswered is None:
                self._unanswered = self._instruments.take()
                self._sequence += 1
            self._cache.add(server, self._report(self._unanswered))
            self._unanswered = None

    def close(self) -> None:
        """Stop the thread; publish a last time, and remove the process from those that run."""
        if self._thread is None:
            return
        self._thread.close()
        self._thread = None
        try:
            self.publish()
            self._cache.remove(self._server or "", self._process)
        except StoreError as error:
            logger.warning("The last metrics of this process are not published: %s", error)

    def _report(self, increments: dict[str, float]) -> MetricsReport:
        instruments = self._instruments
        return MetricsReport(
            process=self._process,
            sequence=self._sequence,
            increments=increments,
            ages=instruments.ages(),
            gauges=instruments.gauges(),
        )

    def _try(self) -> None:
        try:
            self.publish()
        except StoreError as error:
            self._outages.record_failure(_PUBLISHING, error)
        else:
            self._outages.record_success(_PUBLISHING)
