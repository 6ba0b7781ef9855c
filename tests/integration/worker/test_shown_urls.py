"""What each command shows of a job's URL: whole to its owner, masked in lists, hidden if secret."""

from __future__ import annotations

import json

from tests.support.origins.origin import Origin
from tests.support.servers.preloaded import run_module
from tests.support.services.running import run_download
from tests.support.services.system import ROOT, System
from worker.outcome import Outcome

WHOLE, MASKED, NOTHING = "whole", "masked", "nothing"

#: By command: what it shows of a URL with a signature. None shows anything of a secret URL.
SHOWN = {
    "list": MASKED,
    "list --show-urls": WHOLE,
    "list --json": WHOLE,
    "show IDS": WHOLE,
    "show IDS --show-urls": WHOLE,
    "show IDS --json": WHOLE,
    "watch IDS": MASKED,
    "watch IDS --show-urls": WHOLE,
    "watch IDS --json": WHOLE,
    "show URL": MASKED,
}


def output(system: System, *arguments: str) -> str:
    done = run_module("cli", arguments, environment=system.environment, folder=ROOT, timeout=60)
    return done.stdout + done.stderr


def test_every_command(system: System, origin: Origin) -> None:
    url, secret_url = (origin.url(f"/a.bin?n=number{n}&sig=hunter{n}") for n in (1, 2))
    signed = system.submit(url, mirrors=[origin.url("/b?token=hunter1")])
    secret = system.submit(secret_url, mirrors=[origin.url("/b?token=hunter2")], secret_url=True)
    for job in (signed, secret):
        assert run_download(system.runtime, job.id) is Outcome.FAILED
    for command, expected in SHOWN.items():
        places = {"IDS": [signed.id, secret.id], "URL": [url]}
        words = [one for word in command.split() for one in places.get(word, [word])]
        text = output(system, *words)
        found = WHOLE if "hunter1" in text else MASKED if "number1" in text else NOTHING
        assert found == expected, f"{command}: {text}"
        assert "hunter2" not in text
        assert "number2" not in text
        assert "/…" in text or "URL" in command


def test_json_has_the_url_as_requested(system: System) -> None:
    """So that a program can match jobs with its URLs."""
    urls = [f"https://example.com/a?n={number}&X-Amz-Signature=s#part" for number in range(3)]
    ids = {system.submit(url).id: url for url in urls}
    listed = json.loads(output(system, "list", "--json"))
    assert {one["id"]: one["url"] for one in listed} == ids
