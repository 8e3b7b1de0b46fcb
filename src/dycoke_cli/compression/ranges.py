"""Checks of parameters: a sentence that says what is allowed, and what was given."""

from __future__ import annotations

from dycoke_cli.errors import UsageError


def check_share(name: str, value: float) -> None:
    """Refuse a share outside [0, 1), NaN included.

    Raises:
        UsageError: (a ValueError) out of range.
    """
    if not 0 <= value < 1:
        raise UsageError(f"{name} must be at least 0 and below 1, not {value:g}")


def check_at_least(name: str, value: float, least: int) -> None:
    """Refuse what is below `least`, NaN included.

    Raises:
        UsageError: (a ValueError) out of range.
    """
    if not value >= least:
        raise UsageError(f"{name} must be {least} or more, not {value:g}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that isn't one of `allowed`.

    Raises:
        UsageError: (a ValueError) another word.
    """
    if value not in allowed:
        *others, last = allowed
        raise UsageError(f"{name} must be {', '.join(others)} or {last}, not {value!r}")
