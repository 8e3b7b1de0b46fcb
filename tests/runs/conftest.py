"""Ray is silenced before any test imports it."""

from __future__ import annotations

from tests.runs.clusters import HAS_RAY

if HAS_RAY:
    from dycoke_cli.runs.ray import import_ray

    import_ray()
