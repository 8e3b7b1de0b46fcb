"""A server that loads its model again: it has the dtype of the first time."""

from __future__ import annotations

import pytest

from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.models import weight_dtype
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server.media import Media
from dycoke_cli.server.start import ServiceLimits, start_service
from dycoke_cli.video import Sampling


def test_the_dtype_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    has = ["avx2"]
    monkeypatch.setattr(weight_dtype, "instructions", lambda: has)
    loading = LoadOptions(device="cpu")
    request = Request("mini", loading, Sampling(), DyCoke(), GenerationOptions())
    media = Media((), False, most_bytes=1)
    unloaded = unloaded_model(request, View(True).warning)
    limits = ServiceLimits(1, 1, 1, 1)
    service = start_service(request, unloaded, media, limits, View(True))
    assert service.defaults.loading == loading  # so that commands with the same flags are answered
    has.append("avx512_bf16")  # a change of the free memory would do the same
    engine = service.engine
    engine.start()
    try:
        engine.call(lambda loaded: engine.unload())
        assert engine.call(lambda loaded: loaded.dtype) == "float32"
    finally:
        engine.close()
