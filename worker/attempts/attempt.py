"""One attempt: transfer → verify → publish the file. `worker.runner` has locked and claimed the job.

It runs on the event loop "downloads": what waits for a disk, SQL or the store is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from database.operations import Note
from domain.byte_counts import ByteCounts
from domain.cookies import cookie_header
from domain.errors import ChecksumMismatchError, SeenError
from domain.files import Checksum
from domain.job import Job, JobStatus
from domain.remedies import disks
from domain.urls import host_of
from worker import tracing
from worker.attempts.attempt_end import AttemptEnd
from worker.attempts.holdings import Holdings
from worker.attempts.slot_turn import SlotTurn
from worker.leases.stop_signal import StopSignal
from worker.limits.shared_quota import SharedQuota
from worker.metrics.catalog import SLOT_WAIT, TRANSFER_DURATION, TRANSFER_SIZE
from worker.outcome import JobEnd
from worker.progress.reporter import AttemptResult
from worker.progress.trouble import AttemptTrouble
from worker.runtime import Runtime
from worker.storage.destination import Destination
from worker.storage.filenames import name_from_url
from worker.transfer.engine import Transfer
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.interfaces import TransferQuota, TransferSpec
from worker.transfer.output_file import TransferResult

logger = logging.getLogger(__name__)


class Attempt:
    """One attempt at a claimed job, up to the state in which it leaves the job.

    Args:
        runtime: of this process.
        job: as claimed.
        held: what the attempt holds in the store; its owner gives that back.
        stop: ends the transfer.
    """

    def __init__(self, runtime: Runtime, job: Job, held: Holdings, stop: StopSignal) -> None:
        self._runtime = runtime
        self._job = job
        self._held, self._lease = held, held.lease
        self._stop = stop
        self._host = host_of(job.url) or job.host or ""
        self._tracker = runtime.reporter.track(job, stop, held.lease)
        self._disk = runtime.disk_of(job.directory, self._disk_is_silent, self._disk_answers)
        self._end = AttemptEnd(runtime, job, self._tracker, held, self._host, self._disk)
        #: Of a file that an earlier attempt has published.
        self._published_digests: PrefixDigests | None = None
        #: How a complete file was verified, for the job's history.
        self._verification: str | None = None

    @property
    def job(self) -> Job:
        """The job as last written."""
        return self._end.state.job

    async def run(self) -> JobEnd:
        """Run the attempt and write its result.

        Raises:
            DatabaseUnavailableError: the result could not be written.
        """
        with self._runtime.disk_watch.watching(self._disk):
            try:
                return await self._download()
            except Exception as error:
                return await self._end_after(error)

    async def _end_after(self, error: Exception) -> JobEnd:
        try:
            return await self._end.after_error(error)
        except BaseException:
            self._runtime.reporter.untrack(self._tracker)
            raise

    async def _download(self) -> JobEnd:
        destination, may_be_published = await self._disk.call(self._open)
        try:
            published = None
            if may_be_published:
                adopt = partial(self._adopt_or_start_empty, destination)
                published = await self._disk.call(
                    adopt, takes_long=True, progress=self._bytes_adopted
                )
            if published is not None:
                await self._mark_verifying()
            path, sha256 = published or await self._download_within_share(destination)
            return await self._complete(path, sha256)
        finally:
            await self._disk.call(partial(self._close, destination))

    # ── open, close ─────────────────────────────────────────────────────────────────────────────

    def _disk_is_silent(self, seconds: float) -> None:
        folder = self._disk.folder
        self._tracker.trouble = AttemptTrouble(disks.DISK_SILENT, disks.silence(folder))
        self._save_note(disks.silence_note(folder, seconds))

    def _disk_answers(self, seconds: float) -> None:
        self._tracker.trouble = None
        self._save_note(disks.answer_note(seconds))

    def _open(self) -> tuple[Destination, bool]:
        """Open the destination; return it, and whether an earlier attempt has published a file there."""
        runtime, job = self._runtime, self._job
        destination = runtime.destinations.open(runtime.resolve(job.directory), job.id)
        try:
            is_published = destination.find_published() is not None
            if not is_published:
                self._check_replaceable(destination)
        except BaseException:
            destination.close()
            raise
        return destination, is_published

    def _check_replaceable(self, destination: Destination) -> None:
        """Fail a job whose file cannot replace what has its name before the transfer, not after it."""
        if self._job.name is not None and self._job.overwrite:
            destination.check_replaceable(self._job.name)

    def _close(self, destination: Destination) -> None:
        """Close the destination, and remove its working files if SQL has the file as published.

        Not sooner: until then, another attempt would need the record to find the file.
        """
        try:
            if self.job.status is JobStatus.COMPLETED:
                destination.remove_working_files()
        except SeenError as error:
            logger.warning("Job %s: its part file is removed later: %s", self._job.id, error)
        finally:
            destination.close()

    # ── transfer ────────────────────────────────────────────────────────────────────────────────

    async def _download_within_share(self, destination: Destination) -> tuple[Path, str]:
        """Fetch, verify and publish, if host and user do not exceed their share of this worker.

        Returns the path of the published file and its SHA-256.
        """
        self._save_notes(destination)
        shares, of = self._runtime.concurrency_shares, (self._host, self._job.user_id)
        await shares.look_ahead(*of, self._runtime.in_thread)
        self._held.until_received(shares.hold(*of))
        return await self._download_with_slots(destination)

    async def _download_with_slots(self, destination: Destination) -> tuple[Path, str]:
        """Acquire slots of the host and user and a rate; then fetch, verify and publish."""
        runtime, job = self._runtime, self._job
        turn = SlotTurn(runtime, job, self._host, self._held, self._raise_if_stopped)
        with runtime.instruments.timed(SLOT_WAIT, "host"):
            slots = await turn.acquire()
        self._held.hold(slots, job.user_id)
        runtime.claim_pause.store_answered()
        rate = runtime.rate_controller.register(job.id, self._host, job.max_rate)
        self._held.until_received(partial(runtime.rate_controller.unregister, rate))
        quota = SharedQuota(slots, rate, runtime.store)
        return await self._fetch_and_publish(destination, quota)

    async def _fetch_and_publish(
        self, destination: Destination, quota: TransferQuota
    ) -> tuple[Path, str]:
        async with self._transfer(destination, quota) as transfer:
            began = time.monotonic()
            fetched, sha256 = await self._fetch(transfer)
            self._count_transfer(time.monotonic() - began)
            self._held.free_slots()
            try:
                await self._mark_verifying()
                publish = partial(
                    destination.publish,
                    self._file_name(fetched),
                    overwrite=self._job.overwrite,
                    digests=[f"sha256:{sha256}", *self._expected_digests(transfer.origin_digests)],
                    may_publish=self._lease.check,
                )
                with tracing.span("publish", self._job.id):
                    path = await self._disk.call(publish, takes_long=True)
                self._save_notes(destination)
                return path, sha256
            except SeenError:
                # All bytes are there: with a checkpoint the next attempt does not fetch them again.
                await transfer.write_checkpoint()
                raise

    async def _fetch(self, transfer: Transfer) -> tuple[TransferResult, str]:
        """Return what was fetched and its SHA-256; a file with a wrong digest is fetched once more."""
        try:
            return await self._run_and_verify(transfer)
        except ChecksumMismatchError as error:
            await transfer.restart_without_ranges(str(error))
            self._tracker.status = JobStatus.DOWNLOADING
            return await self._run_and_verify(transfer)

    async def _run_and_verify(self, transfer: Transfer) -> tuple[TransferResult, str]:
        with tracing.span("transfer", self._job.id):
            fetched = await transfer.run()
        with tracing.span("verify", self._job.id):
            return fetched, await self._verify(transfer)

    def _count_transfer(self, seconds: float) -> None:
        instruments = self._runtime.instruments
        instruments.observe(TRANSFER_DURATION, seconds)
        instruments.observe(TRANSFER_SIZE, self._tracker.counts.downloaded)

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
            disk=self._disk,
            check_may_write=self._lease.check,
            quota=quota,
            add_note=self._save_note,
        )

    def _file_name(self, fetched: TransferResult) -> str:
        return self._job.name or fetched.name or name_from_url(self._job.url)

    # ── verify ──────────────────────────────────────────────────────────────────────────────────

    async def _verify(self, transfer: Transfer) -> str:
        """Return the SHA-256 of the file.

        Raises:
            ChecksumMismatchError: a digest is not the expected one.
        """
        self._tracker.status = JobStatus.VERIFYING
        try:
            actual = await transfer.digests(self._raise_if_stopped)
        except SeenError:
            await transfer.write_checkpoint()
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

    async def _mark_verifying(self) -> None:
        """Write VERIFYING to SQL, which compares the fence a last time. The file is verified by now."""
        await self._end.state.mark_verifying()
        self._tracker.status = JobStatus.VERIFYING

    def _bytes_adopted(self) -> int:
        digests = self._published_digests
        return 0 if digests is None else digests.position

    def _adopt_or_start_empty(self, destination: Destination) -> tuple[Path, str] | None:
        published = self._adopt_published_file(destination)
        if published is None:
            self._check_replaceable(destination)
        return published

    def _adopt_published_file(self, destination: Destination) -> tuple[Path, str] | None:
        """Verify a file that an earlier attempt published before its worker died; None without one.

        Returns its path and SHA-256. Its bytes are read again, since other programs may have changed the
        file under its final name.
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
        self._published_digests = hashes
        actual = hashes.finish(destination.size, self._raise_if_stopped)
        try:
            _compare(actual, expected)
        except ChecksumMismatchError as error:
            destination.start_empty(f"{path.name} was changed after it was published: {error}")
            self._tracker.status = JobStatus.DOWNLOADING
            self._tracker.restart(ByteCounts())
            return None
        self._verification = "published by an earlier attempt"
        return path, actual["sha256"]

    def _raise_if_stopped(self) -> None:
        self._stop.raise_if_set()
        self._lease.check()

    # ── finish ──────────────────────────────────────────────────────────────────────────────────

    async def _complete(self, path: Path, sha256: str) -> JobEnd:
        counts = self._tracker.counts
        self._tracker.update(replace(counts, durable=counts.downloaded))
        return await self._end.finish(
            AttemptResult(
                status=JobStatus.COMPLETED,
                path=str(path),
                sha256=sha256,
                verification=self._verification,
            )
        )

    def _save_notes(self, destination: Destination) -> None:
        while destination.notes:
            self._save_note(destination.notes.pop(0))

    def _save_note(self, text: str) -> None:
        """Add an event to the job's history, before all that is written after it.

        A failure does not end the attempt.
        """
        logger.info("Job %s: %s", self._job.id, text)
        tracing.note(text)
        if not self._lease.is_expired():
            saved = self._runtime.sql(Note(self._job, text, self._runtime.now()))
            saved.add_done_callback(self._log_unsaved_note)

    def _log_unsaved_note(self, saved: asyncio.Future[Any]) -> None:
        error = saved.exception()
        if error is not None:
            logger.warning("Job %s: an event is not saved: %s", self._job.id, error)


def _algorithm(digest: str) -> str:
    return digest.partition(":")[0]


def _compare(actual: Mapping[str, str], expected: Iterable[str]) -> None:
    for one in map(Checksum.parse, expected):
        if actual[one.algorithm] != one.digest:
            raise ChecksumMismatchError(one.algorithm, one.digest, actual[one.algorithm])
