"""Estimates against what an answer really took: of a fresh process, and of its tensors alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.cli.commands.estimate import cost_of_frames
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory.cost_model import LIBRARIES
from dycoke_cli.kernels.linear import int8_kernels
from dycoke_cli.kernels.processor import emulates_bfloat16, instructions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.stock_processor import ShownFrames
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import ROOT

FRAMES = 4
ASKED = """
import json, sys
import numpy as np
from pathlib import Path
from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.cli.commands.estimate import cost_of_frames
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.natural import Pictures

name, frames, given = json.loads(sys.argv[1])
options = LoadOptions(device="cpu", **given)
def clip(count):
    pictures = np.random.default_rng(0).integers(0, 256, (count, 384, 384, 3), np.uint8)
    return Pictures(pictures, tuple(map(float, range(count))))
def ask(model, pictures, new):
    VideoSession(model, pictures, reuse=False).ask(
        "What happens in the video?", DyCoke(), max_tokens=new)
model = load(name, device="cpu", random_weights=True, **given)
ask(model, clip(frames), 32)
(peak,) = [l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")]
request = Request(name, options, Sampling(), DyCoke(), GenerationOptions(max_tokens=32))
cost = cost_of_frames(request, frames, 384, 384)
print(json.dumps({
    "peak": int(peak.split()[1]) * 1024, "estimated": cost.bytes.peak,
    "weights": model.weights_bytes, "estimated_weights": cost.bytes.weights,
}))
"""

IN_DTYPES = [
    {"dtype": "float32"},
    pytest.param(
        {"dtype": "bfloat16"},
        marks=pytest.mark.skipif(
            emulates_bfloat16(instructions()), reason="this processor doesn't compute bfloat16"
        ),
    ),
    {"dtype": "bfloat16", "quantize": "int8"},
]


@pytest.mark.extended
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("options", IN_DTYPES)
def test_an_answer_of_half_a_billion_weights(options: dict[str, Any]) -> None:
    arguments = json.dumps(["llava-onevision-0.5b", FRAMES, options])
    path = os.pathsep.join((str(ROOT), *sys.path))
    done = subprocess.run(
        [sys.executable, "-c", ASKED, arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["estimated_weights"] == found["weights"]
    # FBGEMM, which packs where a processor has no VNNI, takes copies that the allocator keeps in
    # part: the peak is up to 8 % above what is counted.
    kept = 0.08 if "quantize" in options and "int8 (oneDNN)" not in int8_kernels() else 0.05
    assert found["estimated"] == pytest.approx(found["peak"], rel=kept), found


class Live(TorchDispatchMode):
    """The most bytes that tensors held at a time of those that were made within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(found)):
            storage = tensor.untyped_storage()
            key, size = storage.data_ptr(), storage.nbytes()
            if key and key not in self._seen:
                self._seen.add(key)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._freed, key, size)
        return found

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


@pytest.mark.parametrize("method", [DyCoke(), Uncompressed()], ids=lambda method: method.name)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_an_answer_of_the_bundled_model(dtype: str, method: Method) -> None:
    """Its tensors alone: of so small a process libraries are nearly all."""
    decoded = np.random.default_rng(0).integers(0, 256, (32, 384, 384, 3), np.uint8)
    loaded = load("mini", device="cpu", dtype=dtype)
    resize = loaded.fit(*decoded.shape[:3])
    frames = np.stack([*map(resize, decoded)])
    clip = ShownFrames(frames, tuple(map(float, range(len(frames)))), resize=resize)
    with Live() as live:
        VideoSession(loaded, clip, reuse=False).ask(
            "What happens in the video?", method, max_tokens=8
        )
    options, generation = LoadOptions("cpu", dtype), GenerationOptions(max_tokens=8)  # type: ignore[arg-type]
    found = cost_of_frames(Request("mini", options, Sampling(), method, generation), 32, 384, 384)
    assert found.bytes.weights == loaded.weights_bytes
    # The frames that are kept, and one that arrives.
    held = loaded.weights_bytes + live.most + frames.nbytes + decoded[0].nbytes
    assert found.bytes.peak - LIBRARIES == pytest.approx(held, rel=0.05)
