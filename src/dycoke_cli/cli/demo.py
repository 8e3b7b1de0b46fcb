"""`dycoke demo`: the bundled model answers questions about the bundled clip, with no network."""

from __future__ import annotations

from pathlib import Path

from dycoke_cli.cli import flags, render
from dycoke_cli.cli.conversation import Conversation, converse
from dycoke_cli.cli.presenter import AsText
from dycoke_cli.models import mini, settings
from dycoke_cli.models.load_options import LoadOptions

CLIP = Path(mini.__file__).parent / "demo.mp4"
QUESTIONS = ["What does the green star do?", "What is shown on the card?"]
HINT = (
    'Now yours: `dycoke ask VIDEO "QUESTION" --compare`. This model knows only moving shapes; '
    "for real videos: `dycoke models default llava-onevision-0.5b`."
)


def demo() -> None:
    """Watch DyCoke answer questions about a clip that comes with it.

    Needs no network: model and clip are part of the package.
    """
    with AsText(len(QUESTIONS), quiet=False) as presenter:
        render.note(f"The clip: {CLIP}")
        presenter.progress("start", 0, 0)
        chosen = flags.Chosen(
            model=settings.BUNDLED,
            loading=LoadOptions(),
            sampling=flags.Frames().sampling(),
            generation=flags.Answer().generation(),
            method=flags.Method().choice(),
        )
        converse(Conversation(str(CLIP), QUESTIONS, chosen), presenter)
    render.note(HINT)
