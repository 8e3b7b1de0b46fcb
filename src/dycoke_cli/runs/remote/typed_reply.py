"""Typed answers of a server: the options or the form that a request names, and what it replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dycoke_cli.answer.answer import Scoring
from dycoke_cli.answer.json_schema import ABSENT, Amount, read_or_none
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import valid

_LENGTH = 2000


def asked_for(options: GenerationOptions) -> dict[str, Any]:
    """Keys of a request for the options or the form of its answer; none for free text.

    `response_format` is OpenAI's, and `structured_outputs` is vLLM's.
    """
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


def _typed(typed: TypedOptions, said: str, told: Mapping[str, Any]) -> dict[str, Any]:
    shares = read_or_none(dict[str, Amount], told.get("probabilities"))
    scoring = read_or_none(Scoring, told.get("scoring"), lambda text: valid(text[:_LENGTH]))
    if shares is None or scoring is None or shares.keys() != set(typed.texts):
        raise UsageError(
            "the server gives no probabilities of the options: only `dycoke serve` does; ask a "
            "model on this machine, or leave the options out"
        )
    ordered = {text: float(shares[text]) for text in typed.texts}
    first, second = sorted(ordered.values(), reverse=True)[:2]
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


def _value(form: StructuredOutput, text: str) -> dict[str, Any]:
    if form.kind != "json":
        return {}
    try:
        return {"parsed": form.value(text)}
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "the server's answer isn't JSON: it doesn't support response_format; leave --schema "
            "out, or ask a model on this machine"
        ) from error
