"""Flags of typed questions, and of questions about parts of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.cli.flags.options import flag_table
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError, naming
from dycoke_cli.request import Request
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import STDIN, is_picture
from dycoke_cli.video.sampling import parse_time

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask
    from dycoke_cli.loop.asker import Asker
    from dycoke_cli.runs.listener import Listener
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.pictures import Source


_FLAGS = flag_table("""
    [Generation]
    --choices A,B,…|FILE: Answer with one of these, by their probabilities; no text is generated. A
        file has one per line.
    --yes-no: Answer with yes or no, likewise.
    --score LOW-HIGH: Answer with a whole number, as in 1-5, likewise; with the mean.
    --schema FILE|JSON: Answer with JSON of this JSON Schema: no other token can be generated.
    [Frame sampling]
    --every TIME: Ask about each part of this length, such as 30s.
    --until ANSWER: With --every: stop at the first part with this answer, such as yes.
    --when: Find when something is visible, such as "Is there a red car?", and check each time
        range.
""")


@dataclass(frozen=True)
class OptionFlags:
    """Flags of the options that an answer is one of."""

    choices: Annotated[str | None, _FLAGS["--choices"]] = None
    yes_no: Annotated[bool, _FLAGS["--yes-no"]] = False
    score: Annotated[str | None, _FLAGS["--score"]] = None

    def with_options(self, request: Request) -> Request:
        """Add the options to a request, if there are any."""
        given = self.options_given
        if not given:
            return request
        check_one(given)
        check_greedy(given[0], request)
        typed = self._options()
        return replace(request, generation=replace(request.generation, typed=typed))

    @property
    def options_given(self) -> list[str]:
        """The flags with options."""
        flags = {"--choices": self.choices, "--yes-no": self.yes_no, "--score": self.score}
        return [flag for flag, value in flags.items() if value not in (None, False)]

    def _options(self) -> TypedOptions:
        if self.choices is not None:
            return TypedOptions.parse(self.choices)
        return TypedOptions.yes_no() if self.score is None else TypedOptions.parse_score(self.score)


@dataclass(frozen=True)
class TypedFlags(OptionFlags):
    """Flags of typed questions."""

    schema: Annotated[str | None, _FLAGS["--schema"]] = None

    def applied(self, request: Request) -> Request:
        """Add the options, or the form of the answer, to a request."""
        check_one([*self.options_given, *(["--schema"] if self.schema is not None else [])])
        request = self.with_options(request)
        if self.schema is None:
            return request
        form = StructuredOutput.parse(self.schema)
        return replace(request, generation=replace(request.generation, structured=form))


def check_greedy(flag: str, request: Request) -> None:
    """Check that nothing is sampled where an answer is scored."""
    if request.generation.temperature > 0:
        raise UsageError(f"{flag} scores answers and samples nothing; leave --temperature out")


def check_one(flags: Sequence[str]) -> None:
    """Check that an answer isn't to be two things at once."""
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} exclude each other; use one of them")


@dataclass(frozen=True)
class PartFlags:
    """Flags of questions about each part, and of the search for time ranges."""

    every: Annotated[str | None, _FLAGS["--every"]] = None
    until: Annotated[str | None, _FLAGS["--until"]] = None
    when: Annotated[bool, _FLAGS["--when"]] = False

    @property
    def given(self) -> str | None:
        """The flag that asks about parts of the video; None where none does."""
        return "--when" if self.when else "--every" if self.every is not None else None

    @property
    def every_s(self) -> float | None:
        """Length of a part in seconds; None where the flag isn't given."""
        return duration_s("--every", self.every)

    def typed(self, flags: TypedFlags) -> TypedFlags:
        """The options of the question: with --when they are yes and no."""
        if not self.when:
            return flags
        others = {"--choices": flags.choices, "--score": flags.score, "--schema": flags.schema}
        for name, value in others.items():
            if value is not None:
                raise UsageError(f"--when is for yes or no: leave {name} out")
        return replace(flags, yes_no=True)

    def check(
        self, request: Request, videos: Sequence[Source], questions: Sequence[str], **whole: object
    ) -> None:
        """Check that nothing contradicts the flags, where one video is asked about."""
        self.check_options(**whole)
        if (flag := self.given) is None:
            return
        if len(videos) > 1:
            raise UsageError(f"{flag} takes one video; `dycoke batch` has it for several")
        if STDIN in videos:
            raise UsageError(
                f"{flag} opens the video again for each part, and stdin can be read once: save it "
                "to a file"
            )
        [video] = videos
        if self.when and isinstance(video, str) and is_picture(video):
            raise UsageError(
                f"{display_name(video)} is a still picture: --when needs a video; leave it out"
            )
        if self.until is not None:
            self._check_until(request, questions)

    def check_options(self, **whole: object) -> None:
        """Check that no other flag contradicts these.

        Args: as of `check`.
        """
        if self.until is not None and (self.every is None or self.when):
            raise UsageError(
                "--until is for parts of a video: add --every, as in --every 30s, not --when"
            )
        if (flag := self.given) is None:
            return
        if other := next((name for name, value in whole.items() if value), None):
            other = f"--{other.replace('_', '-')}"
            raise UsageError(f"{other} is for the whole video: leave it out, or {flag}")
        _ = self.every_s

    def _check_until(self, request: Request, questions: Sequence[str]) -> None:
        from dycoke_cli.runs.parts import comparable

        assert self.until is not None
        if len(questions) > 1:
            raise UsageError("--until takes one question")
        typed = request.generation.typed
        if not isinstance(typed, TypedOptions):
            return
        if comparable(self.until) not in map(comparable, typed.texts):
            raise UsageError(
                f"--until {self.until!r} is none of the options: {', '.join(typed.texts)}"
            )

    def converse(
        self,
        asker: Asker,
        asks: Sequence[Ask],
        listener: Listener,
        decoders: Sequence[Decoder] = (),
    ) -> None:
        """Ask about the parts of the video; see `runs.parts`."""
        # Imported late: help and completion need the flags alone.
        if self.when:
            from dycoke_cli.runs.parts import converse_when

            converse_when(asker, asks, self.every_s, listener, decoders)
            return
        from dycoke_cli.runs.parts import Parts, converse_by_part

        assert self.every_s is not None
        converse_by_part(asker, asks, Parts(self.every_s, self.until), listener, decoders)


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
