"""The form of an answer: a JSON Schema, a regular expression or a grammar, as llguidance has it.

A form is tried in an isolated process before it is used, for the library limits neither time nor
memory: it compiles `{"type": "number", "multipleOf": 999983}` in 10 s and 420 MB, during which
nothing can interrupt it. A form that passes its trial takes at most about twice as much with the
vocabulary of a model.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from dycoke_cli.answer.json_schema import Bounds, BoundsError
from dycoke_cli.errors import DycokeError, UsageError, check_kind, need
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name, is_valid

if TYPE_CHECKING:
    from dycoke_cli.processes.isolated import Channel

# The library reads a schema recursively: a deeper one could end the process.
_BOUNDS = Bounds(nbytes=1 << 20, values=20_000, depth=64)
_OF_ANSWERS = Bounds(depth=200)
_MOST_CHARACTERS = 1 << 16
_NAMES = {"json": "schema", "regex": "regular expression", "grammar": "grammar"}


@dataclass(frozen=True)
class StructuredOutput:
    """Form of an answer's text; no token that would leave it can be generated.

    Args:
        kind: what `definition` is. "grammar" is Lark or GBNF.
        definition: a JSON Schema as JSON, a regular expression, or a grammar.

    Raises:
        UsageError: the library can't follow it (with the part of a schema), or it is too large.
        ModelError: the library isn't installed.
    """

    kind: Literal["json", "regex", "grammar"]
    definition: str

    def __post_init__(self) -> None:
        need("llguidance", "schema", "an answer of a given form")
        if (what := _NAMES.get(self.kind)) is None:
            raise UsageError(f"a form is of kind {', '.join(_NAMES)}, not {self.kind!r}")
        check_kind(self.definition, str, f"the definition of a {what} is a text")
        if self.kind == "json":
            _check_schema(self.definition)
        elif len(self.definition) > _MOST_CHARACTERS:
            raise UsageError(f"the {what} has more than {_MOST_CHARACTERS} characters")
        elif not is_valid(self.definition):
            raise UsageError(f"the {what} isn't Unicode: it has half of a pair of surrogates")
        if reason := refusal(self.kind, self.definition):
            raise UsageError(f"the {what} {reason}")

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Self:
        """An answer that is JSON of a schema (JSON Schema, draft 2020-12).

        Raises: see the class.
        """
        try:
            return cls("json", json.dumps(schema))
        except (RecursionError, TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            # More levels than Python follows, or a number of thousands of digits.
            raise UsageError(f"the schema can't be followed: {error}") from error

    @classmethod
    def parse(cls, given: str) -> Self:
        """An answer that is JSON of a schema: of JSON text that begins with a brace, or of a file.

        Raises:
            UsageError: it can't be read, or isn't JSON; or see the class.
        """
        name = "--schema"
        check_kind(given, str, f"{name} takes JSON or a file; from_schema(…) takes an object")
        try:
            text = given
            if not given.lstrip().startswith("{"):
                name = f"--schema {display_name(given)}"
                text = read_text(given, _BOUNDS.nbytes)
            _BOUNDS.check(text.encode())
            schema = json.loads(text)
        except OSError as error:
            raise UsageError(f"{name} can't be read: {error.strerror}") from error
        except BoundsError as error:
            raise UsageError(f"{name} is no schema: {error}") from error
        except ValueError as error:
            raise UsageError(f"{name} isn't JSON: {error}") from error
        if not isinstance(schema, dict):
            raise UsageError(f"{name} is no schema: it must be a JSON object, as in {_EXAMPLE}")
        return cls.from_schema(schema)

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the object's properties; none if the answer needn't be such an object."""
        if self.kind != "json":
            return ()
        return tuple(json.loads(self.definition).get("properties", ()))

    def grammar(self) -> str:
        """The form in the library's notation."""
        return grammar_of(self.kind, self.definition)

    @staticmethod
    def value(text: str) -> Any:
        """The JSON value of an answer; numbers beyond the range of a float become its limits.

        Raises:
            ValueError: it isn't JSON, or nested deeper than can be read (`BoundsError`).
        """
        _OF_ANSWERS.check(text.encode())
        # JSON has no infinity: `1e999` would come out as one, which no JSON writer takes.
        return json.loads(text, parse_float=_finite, parse_int=_whole)


_EXAMPLE = '{"type": "object", "properties": {"colour": {"type": "string"}}}'
_LARGEST, _DIGITS = sys.float_info.max, sys.float_info.max_10_exp


def _finite(number: str) -> float:
    return max(-_LARGEST, min(float(number), _LARGEST))


def _whole(number: str) -> float:
    # Python reads no integer of thousands of digits, which a weak model may write.
    return int(number) if len(number) < _DIGITS else _finite(number)


def _check_schema(definition: str) -> None:
    """Check a schema as far as that is done without the library."""
    try:
        _BOUNDS.check(definition.encode("utf-8", "surrogatepass"))
        schema = json.loads(definition)
    except ValueError as error:
        raise UsageError(f"the schema can't be followed: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(f"the schema must be a JSON object, as in {_EXAMPLE}")
    if not is_valid(json.dumps(schema, ensure_ascii=False)):
        raise UsageError("the schema isn't Unicode: a text in it has half of a pair of surrogates")


PROCESS = f"{__name__}:serve"
PREPARE = f"{__name__}:prepare"
# Schemas of a thousand properties take 0.1 s and 20 MB.
_CPU_S = 0.5
_MEMORY_BYTES = 128 << 20
_LATE_S = 20.0
_OVER = (
    f"takes more than {_CPU_S:g} s or {_MEMORY_BYTES >> 20} MiB to compile: shorten its lists, "
    "repetitions and patterns, or leave out multipleOf"
)
# As `json.dumps` writes it: other white space costs tokens, and a weak model repeats it for ever.
LAYOUT: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
}
_SHOWN = 300  # characters of the library's reason, which may repeat the whole form
# A state takes up to 2 kB. An answer of published schemas has some hundred.
_MOST_STATES = 30_000


def grammar_of(kind: str, definition: str) -> str:
    """The form in the library's notation."""
    from llguidance import LLMatcher

    if kind == "regex":
        return LLMatcher.grammar_from_regex(definition)
    if kind == "json":
        try:
            return LLMatcher.grammar_from_json_schema(definition, overrides=LAYOUT)
        except ValueError as error:  # a number or a character that its parser doesn't take
            raise UsageError(f"can't be followed: {one_line(error)}") from error
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return LLMatcher.grammar_from_lark(any_to_lark(definition))
    except Exception as error:  # what its parser raises is an Exception
        raise UsageError(f"is neither Lark nor GBNF: {one_line(error)}") from error


def matcher(vocabulary: Any, grammar: str) -> Any:
    """A matcher at the start of a text. It doesn't raise: see its `is_error`."""
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(max_lexer_states=_MOST_STATES, verbose_errors=False)
    return LLMatcher(vocabulary, grammar, log_level=0, limits=limits)


def one_line(reason: object) -> str:
    """The library's reason on one line, without the state of its parser, and its own options."""
    line = " ".join(str(reason).partition("\n<")[0].split())
    return re.sub(r" Enable '\w+' option to approximate (\w+) with", r" In place of \1 use", line)[
        :_SHOWN
    ]


@lru_cache(maxsize=16)  # clients send the same one with each request
def refusal(kind: str, definition: str) -> str:
    """Why a form can't be followed, as the rest of a sentence about it; empty if it can.

    Raises:
        DycokeError: the machine is to blame. Only what is returned is cached.
    """
    # Not at the head, for help pages name the form of an answer.
    from dycoke_cli.processes.isolated import Isolated, LateError, NonsenseError
    from dycoke_cli.processes.zygote import GoneError

    process, compiling = Isolated(PROCESS, PREPARE), False
    try:
        process.await_ready()
        compiling = True
        with process.within(_LATE_S):
            process.send({"kind": kind, "definition": definition})
            return str(process.receive().get("reason"))
    except (GoneError, LateError, NonsenseError) as error:
        if not compiling:
            raise DycokeError("the process that compiles forms of answers can't start") from error
        if isinstance(error, LateError) or getattr(error, "killed", False):
            raise DycokeError(
                f"the process that compiles forms of answers was killed, or took over {_LATE_S:g} "
                "s, as on a busy machine; try again, or with a shorter form"
            ) from error
        return _OVER
    finally:
        process.stop()


def prepare() -> None:
    """Load what can't be read inside the sandbox; runs once in the zygote."""
    import llguidance.gbnf_to_lark

    llguidance.LLTokenizer("byte")
    display_name("\n")  # loads a codec


def serve(channel: Channel) -> None:
    """Compile one form, and send why it can't be followed."""
    from dycoke_cli.processes.sandbox import limit_memory, seal

    prepare()
    limit_memory(0, _MEMORY_BYTES)
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)  # whose signal ends the process
    seal()
    channel.send({})
    request, _ = channel.receive()
    channel.send({"reason": _refusal(**request)})


def _refusal(kind: str, definition: str) -> str:
    """See `refusal`."""
    try:
        reason = _reason(grammar_of(kind, definition))
    except UsageError as error:
        return str(error)
    return reason and f"can't be followed: {reason}"


def _reason(grammar: str) -> str:
    """Why a grammar can't be compiled, or begins no text; empty if it can and does."""
    from llguidance import LLTokenizer

    compiled = matcher(LLTokenizer("byte"), grammar)
    if not compiled.is_error():
        compiled.compute_bitmask()
        if compiled.get_error().startswith("NoExtension"):
            return "there is no text of it"
    return one_line(compiled.get_error())
