"""How a request's answer is generated: length, sampling, stop texts, and options of a choice."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dycoke_cli.engine.generation_options import GenerationOptions, TokenOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.server.answer_format import answer_format
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import DYCOKE, STRUCTURED, flag_of, list_of, options_of, text_of

MOST_ANSWERS = 8
"""Of one request (`n`)."""
_LIMITS = ("max_tokens", "max_completion_tokens")  # of the answer's tokens
_DRAWN = ("top_p", "top_k", "min_p")
_ALL = -1  # of vLLM's top_k
_NEW_SEED = -1
_NO_LIMIT = -1  # of LM Studio's and llama.cpp's max_tokens


def generation(given: Mapping[str, Any], default: GenerationOptions) -> GenerationOptions:
    """Generation options of a body."""
    named = {name: given[name] for name in _LIMITS if given.get(name) is not None}
    if len({*map(repr, named.values())}) > 1:
        raise Refused(400, f"{' and '.join(named)} differ: send one of them", parameter=_LIMITS[0])
    name, most = [*named.items()][-1] if named else ("max_new_tokens", None)
    if type(most) is int and most == _NO_LIMIT:
        most = sys.maxsize  # above each context; see `exchange.for_model`
    seed = given.get("seed")
    if type(seed) is int and seed == _NEW_SEED:
        default, seed = replace(default, seed=None), None
    changed: dict[str, Any] = {
        "max_new_tokens": most,
        "temperature": given.get("temperature"),
        "seed": seed,
        **answer_format(given, options_of(given, STRUCTURED), options_of(given, DYCOKE)),
    }
    try:
        options = replace(default, **{k: v for k, v in changed.items() if v is not None})
        return replace(options, tokens=_tokens(given, options.temperature > 0))
    except UsageError as error:
        raise UsageError(str(error).replace("max_new_tokens", name)) from error


def answers(given: Mapping[str, Any], options: GenerationOptions) -> int:
    """How many answers a body asks for (`n`)."""
    count = given.get("n")
    if count is None:
        return 1
    if type(count) is not int or not 1 <= count <= MOST_ANSWERS:
        raise Refused(400, f"n must be from 1 to {MOST_ANSWERS}", parameter="n")
    if count > 1 and options.temperature == 0:
        raise Refused(
            400,
            "n above 1 needs a temperature above 0: greedy answers are all the same",
            parameter="n",
        )
    return count


def _tokens(given: Mapping[str, Any], sampled: bool) -> TokenOptions | None:
    """Options of single tokens; None where the body has none that change anything."""
    values = {name: given[name] for name in (*_DRAWN, "repetition_penalty") if name in given}
    if values.get("top_k") == _ALL:
        values["top_k"] = 0
    # 0 leaves the likeliest token, as the smallest share above it does.
    if not isinstance(values.get("top_p"), bool) and values.get("top_p") == 0:
        values["top_p"] = 1e-6
    options = TokenOptions(**values, stop=_stop(given.get("stop")), top_logprobs=_logprobs(given))
    if not sampled:  # a greedy answer doesn't depend on them
        options = replace(options, top_p=None, top_k=None, min_p=None)
    return None if options == TokenOptions() else options


def _stop(given: Any) -> tuple[str, ...]:
    """Texts that end the answer: one, or a list; empty ones end nothing."""
    texts = [given] if isinstance(given, str) else list_of([] if given is None else given, "stop")
    named = (text_of(text, f"stop[{number}]") for number, text in enumerate(texts))
    return tuple(dict.fromkeys(filter(None, named)))


def _logprobs(given: Mapping[str, Any]) -> int | None:
    """Likeliest tokens to report beside each one; None for no log-probabilities."""
    likeliest: int | None = given.get("top_logprobs")
    if flag_of(given, "logprobs"):
        return likeliest or 0
    if likeliest:
        raise Refused(
            400, 'top_logprobs needs logprobs: send "logprobs": true', parameter="top_logprobs"
        )
    return None
