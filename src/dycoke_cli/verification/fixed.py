"""What every model is asked: the clip that comes with the package, and questions about it."""

from __future__ import annotations

from pathlib import Path

from dycoke_cli.models import mini
from dycoke_cli.video import Clip, Sampling, read

CLIP = Path(mini.__file__).parent / "demo.mp4"
QUESTIONS = (
    "What happens in the video?",
    "How many objects are there?",
    "What is shown on the card?",
)


def clip(frames: int) -> Clip:
    """The fixed clip, sampled."""
    return read(str(CLIP), Sampling(frames=frames))
