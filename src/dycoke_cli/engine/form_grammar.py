"""Grammar of a form as llguidance has it, tried in an isolated process before it is used.

The library limits neither time nor memory: it compiles `{"type": "number", "multipleOf": 999983}`
in 10 s and 420 MB, during which nothing can interrupt it. A form that passes its trial takes at
most about twice as much with the vocabulary of a model.
"""

from __future__ import annotations

import re
import signal
from functools import lru_cache
from typing import Any

from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.processes.isolated import Channel, Isolated, LateError, NonsenseError
from dycoke_cli.processes.sandbox import limit_memory, seal
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.unicode import display_name

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
    if kind == "text":
        return LLMatcher.grammar_from_lark(definition)
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
    prepare()
    limit_memory(0, _MEMORY_BYTES)
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_PROF, _CPU_S)  # whose signal ends the process
    seal()
    channel.send({})
    request, _ = channel.receive()
    channel.send({"reason": _refusal(**request)})


def _refusal(kind: str, definition: str) -> str:
    """See `refusal`."""
    try:
        reason = _reason(grammar_of(kind, definition), with_tokens=kind != "text")
    except UsageError as error:
        return str(error)
    return reason and f"can't be followed: {reason}"


def _reason(grammar: str, *, with_tokens: bool) -> str:
    """Why a grammar can't be compiled, or begins no text; empty if it can and does."""
    from llguidance import LLMatcher, LLTokenizer

    if not with_tokens:
        is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
        return one_line(messages[0]) if is_error else ""
    compiled = matcher(LLTokenizer("byte"), grammar)
    if not compiled.is_error():
        compiled.compute_bitmask()
        if compiled.get_error().startswith("NoExtension"):
            return "there is no text of it"
    return one_line(compiled.get_error())
