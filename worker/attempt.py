"""One attempt: transfer → verify → publish the file. `worker.runner` has locked and claimed the job."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from domain.byte_counts import ByteCounts
from domain.cookies import cookie_header
from domain.errors import ChecksumMismatchError, DatabaseUnavailableError, SeenError
from domain.files import Checksum
from domain.job import Job, JobStatus
from domain.urls import host_of
from worker.attempt_end import AttemptEnd
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.limits.shared_quota import SharedQuota
from worker.outcome import Outcome
from worker.progress.reporter import AttemptResult
from worker.runtime import Runtime
from worker.storage.destination import Destination
from worker.storage.filenames import name_from_url
from worker.transfer.engine import Transfer
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.interfaces import TransferQuota, TransferSpec
from worker.transfer.output_file import TransferResult

logger = logging.getLogger(__name__)


class Attempt:
    """One attempt at a claimed job, up to the state in which it leaves the job."""

    def __init__(self, runtime: Runtime, job: Job, lease: Lease, stop: StopSignal) -> None:
        self._runtime = runtime
        self._job = job
        self._lease = lease
        self._stop = stop
        self._host = host_of(job.url) or job.host or ""
        self._tracker = runtime.reporter.track(job, stop, lease)
        self._end = AttemptEnd(runtime, job, self._tracker, lease, self._host)
        #: How a complete file was verified, for the job's history.
        self._verification: str | None = None

    def run(self) -> Outcome:
        """Run the attempt and write its result.

        Raises:
            DatabaseUnavailableError: the result could not be written.
        """
        try:
            return self._download()
        except Exception as error:
            return self._end.after_error(error)

    def _download(self) -> Outcome:
        runtime, job = self._runtime, self._job
        with runtime.destinations.open(runtime.resolve(job.directory), job.id) as destination:
            published = self._adopt_published_file(destination)
            path, sha256 = published or self._download_within_share(destination)
            return self._complete(destination, path, sha256)

    # ── transfer ────────────────────────────────────────────────────────────────────────────────

    def _download_within_share(self, destination: Destination) -> tuple[Path, str]:
        """Fetch, verify and publish, if host and user do not exceed their share of this worker.

        Returns the path of the published file and its SHA-256.
        """
        job = self._job
        self._save_notes(destination)
        if job.name is not None and job.overwrite:
            # A file that cannot be replaced fails the job before the transfer, not after it.
            destination.check_replaceable(job.name)
        with self._runtime.concurrency_shares.hold(self._host, job.user_id):
            return self._download_with_slots(destination)

    def _download_with_slots(self, destination: Destination) -> tuple[Path, str]:
        """Acquire slots of the host and user and a rate; then fetch, verify and publish."""
        runtime, job = self._runtime, self._job
        slots = runtime.slots.acquire(job.id, self._host, job.user_id)
        runtime.claim_pause.store_answered()
        rate = runtime.rate_controller.register(job.id, self._host, job.max_rate)
        try:
            return self._fetch_and_publish(destination, SharedQuota(slots, rate))
        finally:
            runtime.rate_controller.unregister(rate)
            slots.release()
            self._requeue_next_waiting()

    def _requeue_next_waiting(self) -> None:
        """Queue the job that has waited longest for a slot of this host, and of this user."""
        runtime, job, now = self._runtime, self._job, self._runtime.now()
        try:
            requeued = runtime.jobs.requeue_for_host(self._host, 1, now)
            if job.user_id is not None:
                requeued += runtime.jobs.requeue_for_user(job.user_id, 1, now)
        except DatabaseUnavailableError as error:
            logger.warning("Jobs that wait for a slot are not requeued yet: %s", error)
            return
        runtime.publisher.publish(requeued)

    def _fetch_and_publish(
        self, destination: Destination, quota: TransferQuota
    ) -> tuple[Path, str]:
        with self._transfer(destination, quota) as transfer:
            fetched, sha256 = self._fetch(transfer)
            try:
                self._mark_verifying()
                path = destination.publish(
                    self._file_name(fetched),
                    overwrite=self._job.overwrite,
                    digests=[f"sha256:{sha256}", *self._expected_digests(transfer.origin_digests)],
                    may_publish=self._lease.check,
                )
                self._save_notes(destination)
                return path, sha256
            except SeenError:
                # All bytes are there: with a checkpoint the next attempt does not fetch them again.
                transfer.write_checkpoint()
                raise

    def _fetch(self, transfer: Transfer) -> tuple[TransferResult, str]:
        """Return what was fetched and its SHA-256; a file with a wrong digest is fetched once more."""
        try:
            return transfer.run(), self._verify(transfer)
        except ChecksumMismatchError as error:
            transfer.restart_without_ranges(str(error))
            self._tracker.status = JobStatus.DOWNLOADING
            return transfer.run(), self._verify(transfer)

    def _transfer(self, destination: Destination, quota: TransferQuota) -> Transfer:
        runtime, job = self._runtime, self._job
        credentials = runtime.credential_cipher.decrypt(job)
        return Transfer(
            TransferSpec(
                urls=(job.url, *job.mirrors),
                checksum=job.checksum,
                headers=credentials.headers,
                cookies=credentials.cookies,
                other_cookies=partial(cookie_header, credentials.cookie_jar),
                username=credentials.username,
                password=credentials.password,
                connections=job.connections or runtime.engine.options.connections,
                max_bytes=job.max_bytes,
                decode=job.decode,
                ignore_origin_digests=job.ignore_origin_digests,
                secret_url=job.secret_url,
            ),
            destination,
            self._tracker,
            resources=runtime.engine,
            check_may_write=self._lease.check,
            quota=quota,
            add_note=self._save_note,
        )

    def _file_name(self, fetched: TransferResult) -> str:
        return self._job.name or fetched.name or name_from_url(self._job.url)

    # ── verify ──────────────────────────────────────────────────────────────────────────────────

    def _verify(self, transfer: Transfer) -> str:
        """Return the SHA-256 of the file.

        Raises:
            ChecksumMismatchError: a digest is not the expected one.
        """
        self._tracker.status = JobStatus.VERIFYING
        try:
            actual = transfer.digests(self._raise_if_stopped)
        except SeenError:
            transfer.write_checkpoint()
            raise
        _compare(actual, self._expected_digests(transfer.origin_digests))
        self._verification = self._verification_summary(transfer)
        return actual["sha256"]

    def _expected_digests(self, origin_digests: Iterable[str]) -> list[str]:
        """Return the digests that the file must have, as ``algorithm:hex``."""
        return [*([self._job.checksum] if self._job.checksum else []), *origin_digests]

    def _verification_summary(self, transfer: Transfer) -> str | None:
        """Return which digests were compared, and the validators of the file."""
        parts = [f"{_algorithm(one)} as requested" for one in self._expected_digests([])]
        parts += [f"{_algorithm(one)} as sent by the origin" for one in transfer.origin_digests]
        return "; ".join([*parts, *transfer.validators]) or None

    def _mark_verifying(self) -> None:
        """Write VERIFYING to SQL, which compares the fence a last time. The file is verified by now."""
        self._end.state.mark_verifying()
        self._tracker.status = JobStatus.VERIFYING

    def _adopt_published_file(self, destination: Destination) -> tuple[Path, str] | None:
        """Verify a file that an earlier attempt published before its worker died; None without one.

        Its bytes are read again, since other programs may have changed the file under its final name.
        """
        published = destination.find_published()
        if published is None:
            return None
        path, digests = published
        if not any(_algorithm(one) == "sha256" for one in digests):
            destination.start_empty(
                f"the record of {path.name} has no SHA-256, so the file cannot be verified"
            )
            return None
        self._tracker.status = JobStatus.VERIFYING
        self._tracker.restart(ByteCounts(destination.size, destination.size, destination.size))
        expected = self._expected_digests(digests)
        algorithms = {"sha256", *map(_algorithm, expected)}
        hashes = PrefixDigests(destination, algorithms, self._runtime.engine.hashing_pool)
        actual = hashes.finish(destination.size, self._raise_if_stopped)
        try:
            _compare(actual, expected)
        except ChecksumMismatchError as error:
            destination.start_empty(f"{path.name} was changed after it was published: {error}")
            self._tracker.status = JobStatus.DOWNLOADING
            self._tracker.restart(ByteCounts())
            return None
        self._mark_verifying()
        self._verification = "published by an earlier attempt"
        return path, actual["sha256"]

    def _raise_if_stopped(self) -> None:
        self._stop.raise_if_set()
        self._lease.check()

    # ── finish ──────────────────────────────────────────────────────────────────────────────────

    def _complete(self, destination: Destination, path: Path, sha256: str) -> Outcome:
        self._tracker.update(replace(self._tracker.counts, durable=destination.size))
        outcome = self._end.finish(
            AttemptResult(
                status=JobStatus.COMPLETED,
                path=str(path),
                sha256=sha256,
                verification=self._verification,
            )
        )
        # Only now: before SQL has the result, another attempt would need the record to find the file.
        if outcome is Outcome.COMPLETED:
            try:
                destination.remove_working_files()
            except SeenError as error:
                logger.warning("Job %s: its part file is removed later: %s", self._job.id, error)
        return outcome

    def _save_notes(self, destination: Destination) -> None:
        while destination.notes:
            self._save_note(destination.notes.pop(0))

    def _save_note(self, text: str) -> None:
        """Add an event to the job's history; a failure does not end the attempt."""
        logger.info("Job %s: %s", self._job.id, text)
        if self._lease.is_expired():
            return
        try:
            self._runtime.jobs.note(self._job, text, now=self._runtime.now())
        except DatabaseUnavailableError as error:
            logger.warning("Job %s: an event is not saved: %s", self._job.id, error)


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]


def _compare(actual: Mapping[str, str], expected: Iterable[str]) -> None:
    for one in map(Checksum.parse, expected):
        if actual[one.algorithm] != one.digest:
            raise ChecksumMismatchError(one.algorithm, one.digest, actual[one.algorithm])
