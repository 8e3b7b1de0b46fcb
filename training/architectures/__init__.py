"""The architectures that are trained here, each stock classes of transformers at a tiny size."""

from __future__ import annotations

from training.architectures.base import SIDE as SIDE
from training.architectures.base import Architecture as Architecture
from training.architectures.llava_onevision import LlavaOnevision
from training.architectures.qwen2_5_vl import Qwen25VL

BUNDLED = LlavaOnevision()
"""That of the model that ships."""

ARCHITECTURES: dict[str, Architecture] = {a.name: a for a in (BUNDLED, Qwen25VL())}
