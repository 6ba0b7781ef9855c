"""The commands and options that a mistyped name is nearest to, and what other programs call them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from types import MappingProxyType

from domain.text import escaped

#: Letters that two names must have in common, as `difflib` counts them.
_SIMILAR = 0.6
_MOST = 3
_LONGEST_SHOWN = 60

#: Commands by the names that other programs give them.
SYNONYMS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        **dict.fromkeys(("download", "fetch", "wget", "curl", "pull", "dl"), ("get",)),
        **dict.fromkeys(("ls", "ps", "jobs", "queue", "status", "top"), ("list",)),
        **dict.fromkeys(("delete", "del", "remove", "erase", "forget"), ("rm",)),
        **dict.fromkeys(("stop", "kill", "abort"), ("pause", "cancel")),
        **dict.fromkeys(("start", "run", "serve", "daemon"), ("up", "resume")),
        **dict.fromkeys(("continue", "unpause"), ("resume",)),
        **dict.fromkeys(("down", "quit", "exit", "shutdown"), ("up",)),
        **dict.fromkeys(("restart", "redo", "again"), ("retry",)),
        **dict.fromkeys(("submit", "enqueue", "new", "create"), ("add",)),
        **dict.fromkeys(("info", "inspect", "describe", "events", "history"), ("show",)),
        **dict.fromkeys(("log", "tail"), ("logs",)),
        **dict.fromkeys(("follow", "progress", "wait"), ("watch",)),
        **dict.fromkeys(("check", "health", "diagnose", "ping"), ("doctor",)),
        **dict.fromkeys(("speed", "throttle", "bwlimit", "rate"), ("limit",)),
        **dict.fromkeys(("priority", "prio", "reorder"), ("move",)),
        **dict.fromkeys(("web", "ui", "dashboard", "page", "browser"), ("open", "flower")),
        **dict.fromkeys(("scheduler", "cron"), ("beat",)),
        **dict.fromkeys(("statistics", "metrics"), ("cache stats",)),
        **dict.fromkeys(("migrate", "migration"), ("db upgrade",)),
        **dict.fromkeys(("clean", "cleanup", "prune", "gc"), ("db purge", "rm")),
        **dict.fromkeys(("revision",), ("db current",)),
        **dict.fromkeys(("deadletters", "dlq"), ("dead-letters list",)),
        **dict.fromkeys(("version",), ("--version",)),
    }
)

#: Options by the names that other programs give them. Only those that the command has are suggested.
OPTION_SYNONYMS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "--output": ("out", "output-dir", "directory", "directory-prefix", "dir", "folder", "dest"),
        "--directory": ("out", "output", "output-dir", "dir", "folder", "dest"),
        "--name": ("output-document", "filename", "file-name", "rename"),
        "--limit-rate": ("rate", "speed", "max-speed", "bwlimit", "throttle", "max-download-limit"),
        "--jobs": (
            "parallel",
            "concurrency",
            "max-concurrent-downloads",
            "parallel-max",
            "threads",
        ),
        "--connections": ("split", "max-connection-per-server", "segments", "threads"),
        "--quiet": ("silent", "no-progress", "no-verbose"),
        "--user": ("username", "password", "http-user", "auth"),
        "--cookie": ("load-cookies", "cookie-jar"),
        "--attempts": ("tries", "retry", "retries", "max-tries", "max-attempts"),
        "--max-attempts": ("tries", "retry", "retries", "max-tries", "attempts"),
        "--max-time": ("timeout", "deadline"),
        "--max-bytes": ("max-filesize", "max-size"),
        "--sha256": ("sha256sum", "hash", "digest"),
        "--checksum": ("md5", "sha1", "sha512", "hash", "digest"),
        "--no-origin-checksum": ("no-check", "no-verify", "ignore-checksum", "skip-checksum"),
        "--overwrite": ("force", "clobber", "allow-overwrite", "replace"),
        "--json": ("format", "output-format", "as-json"),
        "--priority": ("prio", "queue", "urgent"),
        "--owner": ("user", "user-id"),
        "--status": ("state", "filter"),
        "--limit": ("max", "count", "number", "num"),
        "--lines": ("tail", "num", "count"),
        "--follow": ("tail", "watch"),
        "--file": ("files", "with-file", "delete-file", "data"),
        "--all": ("every", "everything"),
        "--download-dir": ("dir", "directory", "output", "folder"),
        "--older-than": ("days", "age", "before"),
    }
)


def unknown_command(
    typed: str, rest: Sequence[str], paths: Sequence[Sequence[str]], group: Sequence[str]
) -> str:
    """Return what to print for an unknown command.

    Args:
        typed: the unknown word.
        rest: the words behind it.
        paths: the words of every command.
        group: the words of the group in which it was looked for; empty for `seen` itself.
    """
    words = " ".join([*group, typed])
    problem = f"There is no command {_shown(words)}."
    if "://" in typed:
        return f"{problem} To download it: `seen get {_shown(shlex.quote(typed), quote='')}`."
    found = _commands(typed, rest, [" ".join(path) for path in paths], " ".join(group))
    return f"{problem} {_did_you_mean([f'seen {one}' for one in found])}".rstrip()


def unknown_option(typed: str, known: Sequence[str]) -> str:
    """Return what to print for an unknown option.

    Args:
        typed: the option without its value.
        known: the options of the command.
    """
    word = typed.lstrip("-").lower()
    found = [option for option in known if word in OPTION_SYNONYMS.get(option, ())]
    if not found and len(word) > 1:
        found = _similar(word, {option.lstrip("-"): option for option in known})
    return f"There is no option {_shown(typed)}. {_did_you_mean(found)}".rstrip()


def _commands(typed: str, rest: Sequence[str], commands: Sequence[str], group: str) -> list[str]:
    """Return the nearest commands: exact ones of other groups, synonyms, then similar ones."""
    word = typed.lower()
    exact = [one for one in commands if one.split()[-1] == word]
    if exact:
        return [word] if word in exact else _first(exact)
    synonyms = SYNONYMS.get(word, ())
    in_group = {one.split()[-1]: one for one in commands if group and one.startswith(f"{group} ")}
    found = [in_group[one] for one in synonyms if one in in_group] or _similar(word, in_group)
    found = found or [one for one in synonyms if one in commands or one.startswith("-")]
    if found:
        return found
    if rest and not group:
        two_words = {one: one for one in commands if " " in one}
        found = _similar(f"{word} {rest[0].lower()}", two_words, least=0.8)
    names = {one.split()[-1]: one for one in reversed(commands)}
    return found or _similar(word, {**names, **{one: one for one in commands if " " not in one}})


def _similar(word: str, names: Mapping[str, str], *, least: float = _SIMILAR) -> list[str]:
    """Return the values of the names that are nearest to a word, the nearest first."""
    scores: dict[str, float] = {}
    for name, value in names.items():
        score = SequenceMatcher(None, word, name).ratio()
        if len(word) >= 3 and (name.startswith(word) or word in name.split("-")):
            score = max(score, 0.9)
        if score >= least:
            scores[value] = max(score, scores.get(value, 0.0))
    best = max(scores.values(), default=0.0)
    # What is much less similar than the nearest one only distracts.
    near = [value for value in scores if scores[value] >= best - 0.1]
    return _first(sorted(near, key=lambda value: -scores[value]))


def _first(found: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(found))[:_MOST]


def _did_you_mean(found: Sequence[str]) -> str:
    return f"Did you mean {' or '.join(f'`{one}`' for one in found)}?" if found else ""


def _shown(text: str, *, quote: str = "'") -> str:
    """Return what was typed so that a terminal can show it."""
    return f"{quote}{escaped(text, _LONGEST_SHOWN)}{quote}"
