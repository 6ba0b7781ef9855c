"""What a job's history says of the bytes it had."""

from __future__ import annotations


def completed(size: int, sha256: str | None, evidence: str | None = None) -> str:
    """Return what is said of a file that is whole, and of what spoke for it."""
    what = f"{size:,} bytes, sha256 {sha256}"
    return f"{what}; {evidence}" if evidence else what


def stopped(reason: str | None, there: int, kept: int) -> str | None:
    """Return why a job stopped, and how many of the bytes that were there are kept."""
    lost = max(0, there - kept)
    parts = [reason or ""]
    parts += [f"{kept:,} bytes are kept"] if kept else []
    parts += [f"{lost:,} bytes are thrown away"] if lost else []
    return "; ".join(part.removesuffix(".") for part in parts if part) or None
