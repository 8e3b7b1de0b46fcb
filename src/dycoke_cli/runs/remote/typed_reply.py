"""Typed answers of a server: the options or the form that a request names, and what it replies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dycoke_cli.answer.answer import Scoring
from dycoke_cli.answer.json_schema import ABSENT, Amount, read_or_none
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import MOST_OPTIONS, OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.features import ELSEWHERE, refusal
from dycoke_cli.unicode import valid

_LENGTH = 2000
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?")


def asked_for(options: GenerationOptions) -> dict[str, Any]:
    """Keys of a request for the options or the form of its answer; none for free text.

    `response_format` is OpenAI's, `structured_outputs` is vLLM's, and `dycoke` is ours.
    """
    if isinstance(options.typed, OpenNumber):
        return {"dycoke": {"number": True}}
    if options.typed is not None:
        return {"structured_outputs": {"choice": [*options.typed.texts]}}
    if (form := options.structured) is None:
        return {}
    if form.kind == "json":
        schema = {"name": "answer", "schema": json.loads(form.definition)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {form.kind: form.definition}}


def replied(options: GenerationOptions, text: str, reason: str, told: Any) -> dict[str, Any]:
    """Fields of `Answer` that a typed answer adds; none for free text."""
    if options.typed is not None:
        return _typed(options.typed, text, told if isinstance(told, dict) else {})
    if options.structured is None:
        return {}
    if reason == "length":
        raise UsageError(
            f"the answer isn't complete after {options.max_new_tokens} tokens; raise "
            "--max-new-tokens"
        )
    return _value(options.structured, text)


def _typed(typed: TypedOptions | OpenNumber, said: str, told: Mapping[str, Any]) -> dict[str, Any]:
    shares = read_or_none(dict[str, Amount], told.get("probabilities"))
    scoring = read_or_none(Scoring, told.get("scoring"), lambda text: valid(text[:_LENGTH]))
    if shares is None or scoring is None or not _is_of(typed, shares):
        raise refusal("choices", ELSEWHERE)
    texts = [*shares] if isinstance(typed, OpenNumber) else typed.texts
    ordered = {text: float(shares[text]) for text in texts}
    first, second = [*sorted(ordered.values(), reverse=True), 0.0][:2]
    likeliest = [text for text, share in ordered.items() if share == first]
    choice = said if said in likeliest else likeliest[0]
    mean = typed.mean(ordered)
    return {
        "answer": choice,
        "choice": choice,
        "probabilities": ordered,
        "margin": first - second,
        "mean": ABSENT if mean is None else mean,
        "scoring": scoring,
    }


def _is_of(typed: TypedOptions | OpenNumber, shares: Mapping[str, float]) -> bool:
    """Whether these are probabilities of what was asked for."""
    if isinstance(typed, OpenNumber):
        return 0 < len(shares) <= MOST_OPTIONS and all(map(_NUMBER.fullmatch, shares))
    return shares.keys() == set(typed.texts)


def _value(form: StructuredOutput, text: str) -> dict[str, Any]:
    if form.kind != "json":
        return {}
    try:
        return {"parsed": form.value(text)}
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "the server's answer isn't JSON: it doesn't support response_format; leave --schema "
            "and --fields out, or ask a model on this machine"
        ) from error
