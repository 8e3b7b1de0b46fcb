"""One check and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True)
class Step:
    """A check.

    Args:
        name: what was checked, in a few words.
        verdict: OK, FAILED or SKIPPED.
        detail: one sentence for a person.
        figures: what was measured.
    """

    name: str
    verdict: str
    detail: str
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As an object for JSON."""
        return asdict(self)
