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

from dycoke_cli.compression.method import Method as Method
from dycoke_cli.version import __version__ as __version__

if TYPE_CHECKING:
    from dycoke_cli.answer.answer import Answer as Answer
    from dycoke_cli.ask import Answered as Answered
    from dycoke_cli.ask import Ask as Ask
    from dycoke_cli.ask import Event as Event
    from dycoke_cli.ask import Failed as Failed
    from dycoke_cli.ask import Footage as Footage
    from dycoke_cli.ask import Progress as Progress
    from dycoke_cli.ask import Seen as Seen
    from dycoke_cli.ask import Text as Text
    from dycoke_cli.ask import Warn as Warn
    from dycoke_cli.compression.budget import Budgeted as Budgeted
    from dycoke_cli.compression.method import Selection as Selection
    from dycoke_cli.compression.method import SelectionInputs as SelectionInputs
    from dycoke_cli.compression.methods import *  # noqa: F403
    from dycoke_cli.engine.generation_options import GenerationOptions as GenerationOptions
    from dycoke_cli.engine.generation_options import TokenOptions as TokenOptions
    from dycoke_cli.engine.generation_options import TypedOptions as TypedOptions
    from dycoke_cli.engine.session import VideoSession as VideoSession
    from dycoke_cli.engine.structured_output import StructuredOutput as StructuredOutput
    from dycoke_cli.errors import *  # noqa: F403
    from dycoke_cli.evaluation.dataset import About as About
    from dycoke_cli.evaluation.dataset import Dataset as Dataset
    from dycoke_cli.evaluation.dataset import Item as Item
    from dycoke_cli.evaluation.dataset import Score as Score
    from dycoke_cli.evaluation.folder import FolderDataset as FolderDataset
    from dycoke_cli.evaluation.scoring.judge import judge_answers as judge_answers
    from dycoke_cli.loop.local_engine import Engine as Engine
    from dycoke_cli.models.families.family import Family as Family
    from dycoke_cli.models.families.table import FAMILIES as FAMILIES
    from dycoke_cli.models.load import load as load
    from dycoke_cli.models.load_options import LoadOptions as LoadOptions
    from dycoke_cli.param import Param as Param
    from dycoke_cli.request import Request as Request
    from dycoke_cli.video.clip import Clip as Clip
    from dycoke_cli.video.decoder import read as read
    from dycoke_cli.video.sampling import Sampling as Sampling

Uncompressed = Method  # keeps all tokens

_HOMES = {
    "answer.answer": "Answer",
    "ask": "Answered Ask Event Failed Footage Progress Seen Text Warn",
    "compression.budget": "Budgeted",
    "compression.method": "Selection SelectionInputs",
    "engine.generation_options": "GenerationOptions TokenOptions TypedOptions",
    "engine.session": "VideoSession",
    "engine.structured_output": "StructuredOutput",
    "errors": "DycokeError ContextError ModelError OutOfMemoryError OutputError UsageError "
    "VideoError",
    "evaluation.dataset": "About Dataset Item Score",
    "evaluation.folder": "FolderDataset",
    "evaluation.scoring.judge": "judge_answers",
    "loop.local_engine": "Engine",
    "models.families.family": "Family",
    "models.families.table": "FAMILIES",
    "models.load": "load",
    "models.load_options": "LoadOptions",
    "param": "Param",
    "request": "Request",
    "video.clip": "Clip",
    "video.decoder": "read",
    "video.sampling": "Sampling",
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must not wait for torch."""
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    # `from dycoke_cli import plugins` asks for an attribute before it imports the module.
    if name != "__all__" and not name[0].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dycoke_cli.compression.methods import CLASSES

    if name == "__all__":
        return ["Method", "Uncompressed", "__version__", *CLASSES, *_HOME_OF]
    if name not in CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return CLASSES[name]


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))


def _attach(model: Any, method: Method) -> AbstractContextManager[Any]:
    """Attach a method to a model, which is the engine's work: only now is torch imported."""
    from dycoke_cli.engine.attach import attach

    return attach(model, method)


Method.attach = _attach
