"""Typed answers of a server: the options or the form that a request names, and what it replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dycoke_cli.answer.json_reader import read_or_none
from dycoke_cli.answer.json_schema import ABSENT, Amount
from dycoke_cli.answer.option_scores import Scoring
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import valid

_LENGTH = 2000


def asked_for(options: GenerationOptions) -> dict[str, Any]:
    """Keys of a request for the options or the form of its answer; none for free text.

    `response_format` is OpenAI's, `structured_outputs` is vLLM's, and `dycoke` is ours.
    """
    if options.typed is not None:
        choice = {"structured_outputs": {"choice": [*options.typed.texts]}}
        return choice | ({"dycoke": {"calibrate": True}} if options.typed.calibrate else {})
    if (form := options.structured) is None:
        return {}
    if form.kind == "json":
        schema = {"name": "answer", "schema": json.loads(form.definition)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {form.kind: form.definition}}


def replied(options: GenerationOptions, text: str, reason: str, told: Any) -> dict[str, Any]:
    """Fields of `Answer` that a typed answer adds; none for free text.

    Args:
        options: of the request.
        text: of the reply.
        reason: why it ended.
        told: `usage.dycoke` of the reply, untrusted.

    Raises:
        UsageError: the server doesn't support such answers, or the answer is cut.
    """
    if options.typed is not None:
        return _choice(options.typed, text, told if isinstance(told, dict) else {})
    if options.structured is None:
        return {}
    if reason == "length":
        raise UsageError(
            f"the answer isn't complete after {options.max_new_tokens} tokens; raise "
            "--max-new-tokens"
        )
    return _value(options.structured, text)


def _choice(typed: TypedOptions, said: str, told: Mapping[str, Any]) -> dict[str, Any]:
    shares = read_or_none(dict[str, Amount], told.get("probabilities"))
    scoring = read_or_none(Scoring, told.get("scoring"), lambda text: valid(text[:_LENGTH]))
    if shares is None or scoring is None or shares.keys() != set(typed.texts):
        raise UsageError(
            "the server gives no probabilities of the options: only `dycoke serve` does; ask a "
            "model on this machine, or leave the options out"
        )
    ordered = [float(shares[text]) for text in typed.texts]
    second, first = sorted(ordered)[-2:]
    likeliest = [text for text, share in zip(typed.texts, ordered, strict=True) if share == first]
    choice = said if said in likeliest else likeliest[0]
    mean = typed.mean(ordered)
    return {
        "answer": choice,
        "choice": choice,
        "probabilities": dict(zip(typed.texts, ordered, strict=True)),
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
            "and --fields out, or ask a model on this machine"
        ) from error
