"""Flags of typed questions, and of questions about parts of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.cli.flags.shared_flags import flag_table
from dycoke_cli.engine.generation_options import TypedOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError, naming
from dycoke_cli.request import Request
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, is_picture
from dycoke_cli.video.sampling import parse_time

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask
    from dycoke_cli.loop.asker import Asker
    from dycoke_cli.runs.listener import Listener
    from dycoke_cli.video.pictures import Source


_FLAGS = flag_table("""
    [Generation]
    --choices A,B,…|FILE: Answer with one of these, by their probabilities; no text is generated. A
        file has one per line.
    --yes-no: Answer with yes or no, likewise. Excludes --choices.
    --score LOW-HIGH: Answer with a whole number, as in 1-5, likewise; with the mean. Excludes
        --choices, --yes-no.
    --schema FILE|JSON: Answer with JSON of this JSON Schema: no other token can be generated.
        Excludes --choices, --yes-no, --score.
    [Frame sampling]
    --every TIME: Ask about each part of this length, such as 30s. Excludes --compare, --estimate,
        --follow-up.
    --until ANSWER: Stop at the first part with this answer, such as yes. Needs --every. Excludes
        --when.
    --when: Find when something is visible, such as "Is there a red car?", and check each time
        range. Excludes --compare, --estimate, --follow-up, --choices, --score, --schema.
""")


@dataclass(frozen=True)
class TypedFlags:
    """Flags of typed questions."""

    choices: Annotated[str | None, _FLAGS["--choices"]] = None
    yes_no: Annotated[bool, _FLAGS["--yes-no"]] = False
    score: Annotated[str | None, _FLAGS["--score"]] = None
    schema: Annotated[str | None, _FLAGS["--schema"]] = None

    def applied(self, request: Request, *, yes_no: bool = False) -> Request:
        """Add the options, or the form of the answer, to a request.

        Args:
            yes_no: whether the options are yes and no, whatever the flags say.
        """
        generation = request.generation
        flag, typed = self._options(yes_no)
        if typed is None:
            form = None if self.schema is None else StructuredOutput.parse(self.schema)
            return replace(request, generation=replace(generation, structured=form))
        if generation.temperature > 0:
            raise UsageError(f"{flag} scores answers and samples nothing; leave --temperature out")
        return replace(request, generation=replace(generation, typed=typed))

    def _options(self, yes_no: bool) -> tuple[str, TypedOptions | None]:
        """The flag of the options, and the options; None without one."""
        if self.choices is not None:
            return "--choices", TypedOptions.parse(self.choices)
        if self.score is not None:
            return "--score", TypedOptions.parse_score(self.score)
        return "--yes-no", TypedOptions.yes_no() if self.yes_no or yes_no else None


@dataclass(frozen=True)
class PartFlags:
    """Flags of questions about each part, and of the search for time ranges."""

    every: Annotated[str | None, _FLAGS["--every"]] = None
    when: Annotated[bool, _FLAGS["--when"]] = False

    @property
    def given(self) -> str | None:
        """The flag that asks about parts of the video; None where none does."""
        return "--when" if self.when else "--every" if self.every is not None else None

    @property
    def every_s(self) -> float | None:
        """Length of a part in seconds; None where the flag isn't given."""
        return duration_s("--every", self.every)


@dataclass(frozen=True)
class OneVideoFlags(PartFlags):
    """Flags of questions about the parts of one video."""

    until: Annotated[str | None, _FLAGS["--until"]] = None

    def check(self, request: Request, videos: Sequence[Source], questions: Sequence[str]) -> None:
        """Check that the video has parts, and that --until is one of the answers."""
        if (flag := self.given) is None:
            return
        _ = self.every_s  # raises for what isn't a length
        if len(videos) > 1:
            raise UsageError(f"{flag} takes one video; `dycoke batch` has it for several")
        [video] = videos
        if video == STDIN:
            raise UsageError(
                f"{flag} opens the video again for each part, and stdin can be read once: save it "
                "to a file"
            )
        if self.when and isinstance(video, str) and is_picture(video):
            raise UsageError(
                f"{display_name(video)} is a still picture: --when needs a video; leave it out"
            )
        if self.until is None:
            return
        from dycoke_cli.runs.parts import comparable

        if len(questions) > 1:
            raise UsageError("--until takes one question")
        typed = request.generation.typed
        if isinstance(typed, TypedOptions) and comparable(self.until) not in map(
            comparable, typed.texts
        ):
            raise UsageError(
                f"--until {self.until!r} is none of the options: {', '.join(typed.texts)}"
            )

    def converse(self, asker: Asker, asks: Sequence[Ask], listener: Listener) -> None:
        """Ask about the parts of the video; see `runs.parts`."""
        # Imported late: help and completion need the flags alone.
        if self.when:
            from dycoke_cli.runs.parts import converse_when

            converse_when(asker, asks, self.every_s, listener)
            return
        from dycoke_cli.runs.parts import Parts, converse_by_part

        assert self.every_s is not None
        converse_by_part(asker, asks, Parts(self.every_s, self.until), listener)


def duration_s(flag: str, text: str | None) -> float | None:
    """Seconds of a flag that takes a duration; None where it isn't given.

    Args:
        flag: its name, such as "--every".
        text: its value, such as "30s" or "1:30".
    """
    if text is None:
        return None
    with naming(flag):
        seconds = parse_time(text)
    if seconds <= 0:
        raise UsageError(f"{flag} must be longer than 0 s, not {text}")
    return seconds
