"""Video question answering with training-free visual token compression (DyCoke).

from dycoke_cli import DyCoke

with DyCoke(merge_ratio=0.7, prune_ratio=0.7, prune_layer=3)(model):
    model.generate(**inputs)

from dycoke_cli import VideoSession, Sampling, load, read

session = VideoSession(load("mini"), read("video.mp4", Sampling(frames=32)))
print(session.ask("What happens?", DyCoke()).answer)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.version import __version__

if TYPE_CHECKING:
    from dycoke_cli.compression.budget import Budgeted
    from dycoke_cli.compression.methods.cdpruner import CDPruner
    from dycoke_cli.compression.methods.dart import DART
    from dycoke_cli.compression.methods.dycoke import DyCoke
    from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
    from dycoke_cli.compression.methods.earlytom import EarlyTom
    from dycoke_cli.compression.methods.evs import EVS
    from dycoke_cli.compression.methods.fastv import FastV
    from dycoke_cli.compression.methods.fastvid import FastVID
    from dycoke_cli.compression.methods.flashvid import FlashVID
    from dycoke_cli.compression.methods.holitom import HoliTom
    from dycoke_cli.compression.methods.prumerge import PruMerge, PruMergePlus
    from dycoke_cli.compression.methods.random_merge import RandomMerge
    from dycoke_cli.compression.methods.uniform_frames import UniformFrames
    from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial
    from dycoke_cli.compression.methods.v_cast import VCast
    from dycoke_cli.compression.methods.vidcom2 import VidCom2
    from dycoke_cli.compression.methods.visionzip import VisionZip
    from dycoke_cli.compression.selection import Given, Selection
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.evaluation.dataset import About, Dataset, Item, Score
    from dycoke_cli.evaluation.folder import FolderDataset
    from dycoke_cli.evaluation.judge import judge_answers
    from dycoke_cli.models.families.family import Family
    from dycoke_cli.models.families.table import FAMILIES
    from dycoke_cli.models.load import load
    from dycoke_cli.param import Param
    from dycoke_cli.result import Answer
    from dycoke_cli.video import Sampling, read

__all__ = [
    "DART",
    "EVS",
    "FAMILIES",
    "About",
    "Answer",
    "Budgeted",
    "CDPruner",
    "Dataset",
    "DyCoke",
    "DyCokePlus",
    "EarlyTom",
    "Family",
    "FastV",
    "FastVID",
    "FlashVID",
    "FolderDataset",
    "Given",
    "HoliTom",
    "Item",
    "Method",
    "Param",
    "PruMerge",
    "PruMergePlus",
    "RandomMerge",
    "Sampling",
    "Score",
    "Selection",
    "Uncompressed",
    "UniformFrames",
    "UniformSpatial",
    "VCast",
    "VidCom2",
    "VideoSession",
    "VisionZip",
    "__version__",
    "judge_answers",
    "load",
    "read",
]

Uncompressed = Method

_HOMES = {
    "About": ("dycoke_cli.evaluation.dataset", "About"),
    "Answer": ("dycoke_cli.result", "Answer"),
    "Budgeted": ("dycoke_cli.compression.budget", "Budgeted"),
    "CDPruner": ("dycoke_cli.compression.methods.cdpruner", "CDPruner"),
    "DART": ("dycoke_cli.compression.methods.dart", "DART"),
    "Dataset": ("dycoke_cli.evaluation.dataset", "Dataset"),
    "DyCoke": ("dycoke_cli.compression.methods.dycoke", "DyCoke"),
    "DyCokePlus": ("dycoke_cli.compression.methods.dycoke_plus", "DyCokePlus"),
    "EarlyTom": ("dycoke_cli.compression.methods.earlytom", "EarlyTom"),
    "EVS": ("dycoke_cli.compression.methods.evs", "EVS"),
    "FAMILIES": ("dycoke_cli.models.families.table", "FAMILIES"),
    "Family": ("dycoke_cli.models.families.family", "Family"),
    "FastV": ("dycoke_cli.compression.methods.fastv", "FastV"),
    "FastVID": ("dycoke_cli.compression.methods.fastvid", "FastVID"),
    "FlashVID": ("dycoke_cli.compression.methods.flashvid", "FlashVID"),
    "FolderDataset": ("dycoke_cli.evaluation.folder", "FolderDataset"),
    "Given": ("dycoke_cli.compression.selection", "Given"),
    "HoliTom": ("dycoke_cli.compression.methods.holitom", "HoliTom"),
    "Item": ("dycoke_cli.evaluation.dataset", "Item"),
    "Param": ("dycoke_cli.param", "Param"),
    "PruMerge": ("dycoke_cli.compression.methods.prumerge", "PruMerge"),
    "PruMergePlus": ("dycoke_cli.compression.methods.prumerge", "PruMergePlus"),
    "RandomMerge": ("dycoke_cli.compression.methods.random_merge", "RandomMerge"),
    "Sampling": ("dycoke_cli.video", "Sampling"),
    "Score": ("dycoke_cli.evaluation.dataset", "Score"),
    "Selection": ("dycoke_cli.compression.selection", "Selection"),
    "UniformFrames": ("dycoke_cli.compression.methods.uniform_frames", "UniformFrames"),
    "UniformSpatial": ("dycoke_cli.compression.methods.uniform_spatial", "UniformSpatial"),
    "VCast": ("dycoke_cli.compression.methods.v_cast", "VCast"),
    "VidCom2": ("dycoke_cli.compression.methods.vidcom2", "VidCom2"),
    "VideoSession": ("dycoke_cli.engine.session", "VideoSession"),
    "VisionZip": ("dycoke_cli.compression.methods.visionzip", "VisionZip"),
    "judge_answers": ("dycoke_cli.evaluation.judge", "judge_answers"),
    "load": ("dycoke_cli.models.load", "load"),
    "read": ("dycoke_cli.video", "read"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def _attach(model: Any, method: Method) -> AbstractContextManager[Any]:
    """Attach a method to a model, which is the engine's work: only now is torch imported."""
    from dycoke_cli.engine.attach import attach

    return attach(model, method)


Method.attach = _attach
