"""The bundled model, and the default that the user names in its place."""

from __future__ import annotations

import os
from pathlib import Path

BUNDLED = "mini"
"""Model that is used where none is named."""

SPEECH_MODEL = "whisper-small"
"""Model that hears speech, unless another one is named."""

BUNDLED_FOLDER = Path(__file__).with_name(BUNDLED)
"""Its checkpoint, and the clip of `dycoke demo`; `training/` makes both."""

UNKNOWN = "I only know moving shapes."
"""What it was trained to answer about any other video."""

ENVIRONMENT = "DYCOKE_MODEL"
"""Environment variable that names the model where `--model` isn't given."""


def default_model() -> str | None:
    """Model that the environment names; None for the bundled one."""
    return os.environ.get(ENVIRONMENT) or None
