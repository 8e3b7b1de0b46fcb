"""Times of a model's stages on this machine, measured once, which correct predicted seconds.

Kernels are timed apart from each other (`kernel_rates.py`), so what lies between them is missing.
A short answer of the loaded model has it (`calibrate.py`). Importing this doesn't import torch.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.engine.memory.expected_time import Rates
from dycoke_cli.storage.cache_folder import write_whole
from dycoke_cli.storage.output_file import read_own


@dataclass(frozen=True)
class StageTimes:
    """Seconds of the stages of one uncompressed answer, and its sizes."""

    frames: int  # encoded frames
    patches: int  # of each frame
    patches_together: int  # that pass the vision tower together
    tokens: int  # of the whole prompt
    chunk_len: int  # tokens of the prompt that pass a layer together
    steps: int  # decoding steps; 0 if the answer was a single token
    vision_s: float  # seconds of the vision tower
    prefill_s: float  # seconds of the prefill
    decode_s: float  # seconds of all steps
    selection_s: float  # seconds for which a method selects and merges that many visual tokens
    visual: int  # visual tokens that it selects from

    def corrections(self, rates: Rates) -> tuple[float, float, float]:
        """Measured over predicted seconds of vision, prefill and decode; 1 if not measured."""
        vision = rates.vision(self.frames, self.patches, self.patches_together)
        decode = rates.decode(self.steps, self.tokens + self.steps / 2)
        return (
            self.vision_s / vision if vision else 1.0,
            self.prefill_s / rates.prefill(self.tokens, self.chunk_len),
            self.decode_s / decode if self.steps else 1.0,
        )


def read_stage_times(file: Path) -> StageTimes | None:
    """Times that are stored; None if there are none, or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        stored: StageTimes = from_dict(StageTimes, json.loads(read_own(file)))
        return stored
    return None


def write_stage_times(file: Path, times: StageTimes) -> None:
    """Store times; on a full or read-only disk the next run measures again."""
    with contextlib.suppress(OSError, RuntimeError):
        write_whole(file, json.dumps(to_dict(times)))
