"""dycoke in lmms-eval: `lmms-eval --model dycoke` finds `manifest` by its entry point.

Only `model.py` imports lmms-eval.
"""

from __future__ import annotations

from typing import Any

MODEL = "dycoke_lmms_eval.model.DycokeChat"


def manifest() -> Any:
    """What lmms-eval registers: the name that `--model` takes, and the class that answers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="dycoke", chat_class_path=MODEL)
