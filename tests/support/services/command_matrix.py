"""Runs every command of `seen` in an environment in which something is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.inputs.commands import JOBS, URL, calls
from tests.support.services.seen import Result, Seen

#: Commands that use the local stack here, not the store of the test.
_LOCAL = ("get", "up", "logs")
#: What each program prints that has ended by an error which it does not handle.
UNHANDLED = ("Traceback", "Exception ignored", "An unexpected error", "Error in sys.excepthook")
_STDERR_IS_LOST = {
    *("all streams closed", "stdout and stderr full"),
    *("stderr closed", "stderr full", "stderr without a reader"),
}


class JobsTemplate:
    """A data folder with a job for each command that takes one, two users, and a key of one.

    Attributes:
        ids: of the jobs, by command; under "key" the key's prefix.
    """

    def __init__(self, folder: Path) -> None:
        with Seen(folder, SEEN_CACHE_ADDR="127.0.0.1:1") as seen:
            urls = [f"{URL}?job={name}" for name in JOBS]
            self.ids = dict(zip(JOBS, seen.good("add", *urls).out.split(), strict=True))
            for name, change in JOBS.items():
                if change is not None:
                    seen.good(change, self.ids[name])
            for name in ("ada", "bob"):
                seen.good("user", "add", name)
            self.ids["key"] = seen.good("key", "add", "ada", "--json").json()["prefix"]
            self.data_dir = seen.data_dir
        log = self.data_dir / "logs" / "downloads.log"
        log.parent.mkdir()
        log.write_text("a line\n")


class CommandMatrix(Seen):
    """All commands, with a copy of the jobs of a template.

    Attributes:
        faults: what was wrong with the calls so far; empty is right.
    """

    def __init__(self, folder: Path, template: JobsTemplate, **settings: str) -> None:
        super().__init__(folder, SEEN_FLOWER_PASSWORD="secret", **settings)
        shutil.copytree(template.data_dir, self.data_dir)
        self.faults: list[str] = []
        self._ids = template.ids

    def set_variables(self, variables: Mapping[str, str | None]) -> None:
        """Set variables, and remove those that are None."""
        self.environment |= {k: v for k, v in variables.items() if v is not None}
        for name in (k for k, v in variables.items() if v is None):
            self.environment.pop(name, None)

    def call(self, call: Sequence[str], changes: Sequence[str]) -> Result:
        """Run one call; what no environment excuses is noted in `faults`."""
        arguments = [one.format(**self._ids, folder=self.folder) for one in call]
        kept = self.environment
        if call[0] in _LOCAL:
            self.environment = {k: v for k, v in kept.items() if not k.startswith("SEEN_CACHE_")}
        try:
            result = self.run(
                *arguments,
                timeout=60,
                changes=[*changes, "services do not start"],
                interrupt_at_output=call == ["watch"],
            )
        finally:
            self.environment = kept
        if any(text in result.out + result.err for text in UNHANDLED):
            self.note(call, result, "it does not handle an error")
        return result

    def note(self, call: Sequence[str], result: Result, what: str) -> None:
        """Add a fault."""
        self.faults.append(f"seen {' '.join(call)}: {what}: {result}")

    def check_all(self, changes: Sequence[str], allowed: set[int]) -> dict[str, Result]:
        """Run all calls that work elsewhere; note other statuses, and failures without a sentence."""
        results = {}
        for call in calls():
            result = self.call(call, changes)
            results[" ".join(call)] = result
            if result.status not in allowed:
                self.note(call, result, f"the status is not in {allowed}")
            if result.status not in {0, 130, 141} and not _STDERR_IS_LOST & set(changes):
                self.check_sentence(call, result)
        return results

    def check_sentence(self, call: Sequence[str], result: Result) -> None:
        """Note an error without a sentence for people."""
        lines = (result.err or result.out).splitlines()
        is_finding = call == ["doctor"] and "problem" in result.out
        if not is_finding and not (lines and lines[-1].strip(' "}').endswith(".")):
            self.note(call, result, "no sentence says what is wrong")
