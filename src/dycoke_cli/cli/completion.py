"""What a shell completes: names of models, methods and benchmarks, without waiting for torch.

Each function gets what was typed so far and returns names with what they are; Typer shows those
that begin with it. Where there is none, the shell completes files.
"""

from __future__ import annotations

from dycoke_cli.compression.registry import METHODS
from dycoke_cli.evaluation.method_specs import ABLATIONS

Names = list[tuple[str, str]]


def models(incomplete: str) -> Names:
    """Models of the catalog."""
    # Only here: reading it takes time.
    from dycoke_cli.models.catalog import CATALOG

    return [(name, entry.note or "") for name, entry in CATALOG.items()]


def families(incomplete: str) -> Names:
    """Their families."""
    from dycoke_cli.models.catalog import CATALOG

    return [(name, "") for name in sorted({e.family for e in CATALOG.values() if e.family})]


def methods(incomplete: str) -> Names:
    """Compression methods."""
    return [(name, method.summary) for name, method in METHODS.items()]


def rows(incomplete: str) -> Names:
    """The last of several methods, separated by commas."""
    before, comma, _ = incomplete.rpartition(",")
    named = [*methods(incomplete), *((name, row.summary) for name, row in ABLATIONS.items())]
    return [(f"{before}{comma}{name}", summary) for name, summary in named]


def presets(incomplete: str) -> Names:
    """Settings of published rows."""
    # Only here: it is read from a file.
    from dycoke_cli.evaluation.presets import presets

    return [(name, preset.paper) for name, preset in presets().items()]


def benchmarks(incomplete: str) -> Names:
    """Benchmarks."""
    from dycoke_cli.evaluation.datasets import DATASETS

    return [(name, "") for name in DATASETS]
