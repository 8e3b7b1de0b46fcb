"""`dycoke demo`: runs the bundled model on the bundled clip, without network access."""

from __future__ import annotations

from dycoke_cli.cli import render
from dycoke_cli.cli.commands.presenter import AsText
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import BUNDLED, BUNDLED_FOLDER, LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling

CLIP = BUNDLED_FOLDER / "demo.mp4"
QUESTIONS = ["What does the green star do?", "What is shown on the card?"]
HINT = (
    'Next: `dycoke ask VIDEO "QUESTION" --compare`. The bundled demo model only understands clips '
    "of moving shapes; for real videos: --model llava-onevision-0.5b."
)


def demo(stats: shared_flags.Stats = False) -> None:
    """Answer two questions about a bundled clip with the bundled model.

    Examples:
        dycoke demo

    No network needed: model and clip are part of the package.
    """
    with AsText(len(QUESTIONS), quiet=False, stats=stats) as presenter:
        render.note(f"The clip: {CLIP}")
        presenter.stage("start")
        from dycoke_cli.runs.converse import asks_of, converse, engine_of

        request = Request(BUNDLED, LoadOptions(), Sampling(), DyCoke(), GenerationOptions())
        with engine_of(request, presenter, keep=1) as engine:
            converse(engine, asks_of([str(CLIP)], QUESTIONS, request), presenter)
    render.note(HINT)
