"""Shell completion of models and methods, without importing torch.

Each function takes the incomplete word and returns (name, description) pairs, which Typer filters.
If none matches, the shell completes files. Each imports what it lists: every command has such a
function, and a shell calls one.
"""

from __future__ import annotations

Names = list[tuple[str, str]]


def models(incomplete: str) -> Names:
    """Models of the catalog."""
    from dycoke_cli.models.catalog import CATALOG

    return [(name, entry.note or "") for name, entry in CATALOG.items()]


def families(incomplete: str) -> Names:
    """Model families of the catalog."""
    from dycoke_cli.models.catalog import CATALOG

    return [(name, "") for name in sorted({e.family for e in CATALOG.values() if e.family})]


def methods(incomplete: str) -> Names:
    """Compression methods."""
    from dycoke_cli.compression.registry import METHODS

    return [(name, method.summary) for name, method in METHODS.items()]


def kept(incomplete: str) -> Names:
    """What is kept in the cache folder."""
    from dycoke_cli.storage.cache_folder import KEPT

    return [*KEPT.items()]


def rows(incomplete: str) -> Names:
    """Last entry of a comma-separated list of methods."""
    from dycoke_cli.compression.registry import ABLATIONS

    before, comma, _ = incomplete.rpartition(",")
    named = [*methods(incomplete), *((name, row.summary) for name, row in ABLATIONS.items())]
    return [(f"{before}{comma}{name}", summary) for name, summary in named]
