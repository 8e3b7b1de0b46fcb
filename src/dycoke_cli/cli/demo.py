"""`dycoke demo`: the bundled model answers questions about the bundled clip, with no network."""

from __future__ import annotations

from pathlib import Path

from dycoke_cli.cli import choice, render
from dycoke_cli.cli.conversation import Conversation, converse
from dycoke_cli.cli.method_flags import MethodChoice
from dycoke_cli.cli.presenter import AsText
from dycoke_cli.compression.registry import DEFAULT
from dycoke_cli.models import mini, settings

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
    sampling = choice.sampling(
        frames=None, fps=None, max_frames=None, start=None, end=None, stream=None
    )
    with AsText(len(QUESTIONS), quiet=False) as presenter:
        render.note(f"The clip: {CLIP}")
        presenter.progress("start", 0, 0)
        conversation = Conversation(
            video=str(CLIP),
            questions=QUESTIONS,
            sampling=sampling,
            model=settings.BUNDLED,
            method=MethodChoice(DEFAULT, {}),
            answer=choice.AnswerChoice(max_new_tokens=128, temperature=0.0, seed=None),
        )
        converse(conversation, presenter)
    render.note(HINT)
