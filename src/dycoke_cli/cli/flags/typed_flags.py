"""Flags of typed questions: the answer is one of given options, or an object of a schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.engine.structured_output import EXAMPLE, StructuredOutput
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.request import Request

_FLAGS = flag_table(f"""
    [Generation]
    --choices A,B,…|FILE: Answer with one of these, by their probabilities; no text is generated. A
        file has one per line.
    --yes-no: Answer with yes or no, likewise.
    --score LOW-HIGH: Answer with a whole number, as in 1-5, likewise; with the mean.
    --number: Answer with a number, whichever is likeliest, likewise; with the mean.
    --schema FILE: Answer with JSON of this JSON Schema: no other token can be generated.
    --fields NAME:TYPE,…: Answer with an object of these fields, likewise, as in {EXAMPLE}.
""")
Fields = Annotated[str | None, _FLAGS["--fields"]]


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

    number: Annotated[bool, _FLAGS["--number"]] = False
    schema: Annotated[str | None, _FLAGS["--schema"]] = None

    def applied(self, request: Request, fields: str | None = None) -> Request:
        """Add the options, or the form of the answer, to a request."""
        forms = {"--schema": self.schema, "--fields": fields}
        formed = [flag for flag, value in forms.items() if value is not None]
        check_one([*self.options_given, *(["--number"] if self.number else []), *formed])
        request = self.with_options(request)
        if self.number:
            check_greedy("--number", request)
            generation = replace(request.generation, typed=OpenNumber())
            return replace(request, generation=generation)
        if not formed:
            return request
        changed = replace(request.generation, structured=self._form(fields))
        return replace(request, generation=changed)

    def _form(self, fields: str | None) -> StructuredOutput:
        if self.schema is not None:
            return StructuredOutput.from_file(self.schema)
        return StructuredOutput.from_fields(fields or "")


def check_greedy(flag: str, request: Request) -> None:
    """Check that nothing is sampled where an answer is scored."""
    if request.generation.temperature > 0:
        raise UsageError(f"{flag} scores answers and samples nothing; leave --temperature out")


def check_one(flags: Sequence[str]) -> None:
    """Check that an answer isn't to be two things at once."""
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} exclude each other; use one of them")
