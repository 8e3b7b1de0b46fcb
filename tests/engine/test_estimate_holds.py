"""Estimates against what an answer really took: resident memory of a fresh process, by Linux."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.models.kernel_choice import BFLOAT16, instructions
from tests.cli.harness import ROOT

FRAMES = 8
# What differs between machines is timed first, so that the choice of kernels is known to both.
ASKED = """
import json, sys
import numpy as np, psutil
from pathlib import Path
from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.cli.estimate import cost_of_frames
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video import Sampling
from tests.natural import Pictures

name, frames, given = json.loads(sys.argv[1])
options = LoadOptions(device="cpu", **given)
def clip(count):
    pictures = np.random.default_rng(0).integers(0, 256, (count, 384, 384, 3), np.uint8)
    return Pictures(pictures, tuple(map(float, range(count))))
def ask(model, pictures, new):
    VideoSession(model, pictures, reuse=False).ask(
        "What happens in the video?", DyCoke(), max_new_tokens=new)
# Libraries: what they take isn't the model's.
ask(load("mini", device="cpu", dtype=given["dtype"], quantize=given.get("quantize")), clip(4), 8)
before = psutil.Process().memory_info().rss
Path("/proc/self/clear_refs").write_text("5")
model = load(name, device="cpu", random_weights=True, **given)
ask(model, clip(frames), 32)
(peak,) = [l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")]
request = Request(name, options, Sampling(), DyCoke(), GenerationOptions(max_new_tokens=32))
cost = cost_of_frames(request, frames, 384, 384)
print(json.dumps({
    "peak": int(peak.split()[1]) * 1024 - before, "estimated": cost.bytes.peak,
    "weights": model.weights_bytes, "estimated_weights": cost.bytes.weights,
}))
"""

IN_DTYPES = [
    {"dtype": "float32"},
    pytest.param(
        {"dtype": "bfloat16"},
        marks=pytest.mark.skipif(
            not BFLOAT16 & {*instructions()}, reason="this processor doesn't compute bfloat16"
        ),
    ),
    {"dtype": "bfloat16", "quantize": "int8"},
]


@pytest.mark.slow
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
    assert found["estimated"] == pytest.approx(found["peak"], rel=0.05), found
