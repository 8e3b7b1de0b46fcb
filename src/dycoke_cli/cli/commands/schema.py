"""`dycoke schema`: JSON Schemas of the program's output, derived from its dataclasses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dycoke_cli.answer.answer import Answer, Failure
from dycoke_cli.answer.json_schema import Part, schema_of
from dycoke_cli.cli import output
from dycoke_cli.compression.registry import method_schema
from dycoke_cli.errors import UsageError

_BATCH_KEYS = ("id", "key", "digest")
_CONTEXT_KEYS = (*_BATCH_KEYS, "benchmark", "model", "video", "question")
_UNMEASURED = ("seed", "tokens", "decode", "flops", "seconds", "tokens_per_second", "bytes")
"""Keys whose value is null if the question wasn't put to the model."""
_ANSWERED = {
    "finish_reason": {
        "enum": ["stop", "length"],
        "description": "length: cut by --max-new-tokens.",
    }
}
_REFUSED: dict[str, dict[str, Any]] = {
    "finish_reason": {
        "enum": ["refused"],
        "description": "The question wasn't put to the model; `warnings` says why.",
    },
    **{key: {"type": "null"} for key in _UNMEASURED},
}


@dataclass(frozen=True)
class Document:
    """JSON document of a command.

    Args:
        schema: name of its schema, the value of the key `schema`.
        description: what it is, and which command prints it.
        parts: returns its variants. A function, because importing their modules takes time.
    """

    schema: str
    description: str
    parts: Callable[[], Mapping[str, Part]]


def _failure(*about: str, needs: tuple[str, ...] = ()) -> Part:
    return Part(Failure, needs=needs, without=[name for name in _CONTEXT_KEYS if name not in about])


def _answers(needs: tuple[str, ...], without: tuple[str, ...] = ()) -> Mapping[str, Part]:
    """Variants of an answer: from a local model, a refusal, from a server."""
    return {
        "answer": Part(Answer, needs, without, values=_ANSWERED),
        "refusal": Part(Answer, needs, without, values=_REFUSED),
        "remote": Part(Answer, needs, without, values=_ANSWERED, remote=True),
    }


def answer_parts() -> Mapping[str, Part]:
    """Variants of a `dycoke.answer/1` object."""
    return {
        **_answers(needs=("video",)),
        "error": _failure("video", "question", *_BATCH_KEYS),
    }


def _batch() -> Mapping[str, Part]:
    needs = ("video", "question", *_BATCH_KEYS)
    return {
        **_answers(needs=needs, without=("compared_to",)),
        "error": _failure(*needs, needs=needs),
    }


def _bench() -> Mapping[str, Part]:
    from dycoke_cli.bench.bench_report import BenchReport

    return {"report": Part(BenchReport), "error": _failure()}


def _cache() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.cache import CacheState

    return {"cache": Part(CacheState), "error": _failure()}


def _doctor() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.doctor import Diagnosis

    return {"diagnosis": Part(Diagnosis), "error": _failure()}


def _estimate() -> Mapping[str, Part]:
    from dycoke_cli.engine.memory.cost import Cost

    return {"estimate": Part(Cost), "error": _failure("video", "question", "model")}


def _eval() -> Mapping[str, Part]:
    from dycoke_cli.evaluation.report.evaluation_report import EvalReport

    return {"report": Part(EvalReport), "error": _failure("benchmark")}


def _eval_check() -> Mapping[str, Part]:
    from dycoke_cli.evaluation.check import Checked

    return {"check": Part(Checked), "error": _failure("benchmark")}


def _eval_list() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.benchmarks import BenchmarkList

    return {"list": Part(BenchmarkList), "error": _failure()}


def _inspect() -> Mapping[str, Part]:
    from dycoke_cli.inspect.inspection import Inspection

    return {"inspection": Part(Inspection), "error": _failure("video", "question")}


def _methods() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.methods import MethodList

    return {"methods": Part(MethodList), "error": _failure()}


def _models() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.model_documents import ModelList

    return {"models": Part(ModelList), "error": _failure()}


def _probe() -> Mapping[str, Part]:
    from dycoke_cli.cli.commands.probe import Probed

    return {"video": Part(Probed), "error": _failure("video")}


def _tune() -> Mapping[str, Part]:
    from dycoke_cli.tuning.tune_report import TuneReport

    return {"report": Part(TuneReport), "error": _failure()}


def _verify() -> Mapping[str, Part]:
    from dycoke_cli.verification.verification_report import VerificationReport

    return {"report": Part(VerificationReport), "error": _failure("model")}


DOCUMENTS = {
    "answer": Document(
        "dycoke.answer/1",
        "The answer to a question about a video, or why there is none: an object per question of "
        "`dycoke ask --json`, and a line of `dycoke batch`.",
        answer_parts,
    ),
    "batch": Document(
        "dycoke.answer/1",
        "A line of `dycoke batch`: an answer, a refusal or an error, with the keys of a batch.",
        _batch,
    ),
    "bench": Document("dycoke.bench/1", "The result of `dycoke bench`.", _bench),
    "cache": Document("dycoke.cache/1", "The encoded videos that `dycoke cache` counts.", _cache),
    "doctor": Document("dycoke.doctor/1", "The report of `dycoke doctor`.", _doctor),
    "error": Document(
        "dycoke.error/1",
        "A usage error with `--json` of an unknown command.",
        lambda: {"error": _failure()},
    ),
    "estimate": Document(
        "dycoke.estimate/1", "What an answer would cost: `--estimate`.", _estimate
    ),
    "eval": Document("dycoke.eval/1", "The report of `dycoke eval`.", _eval),
    "eval-check": Document(
        "dycoke.eval-check/1", "The result of `dycoke eval NAME --check`.", _eval_check
    ),
    "eval-list": Document(
        "dycoke.eval-list/1", "The benchmarks of `dycoke eval --list`.", _eval_list
    ),
    "inspect": Document(
        "dycoke.inspect/1",
        "What each method kept of a video, and what each token of the answer attended to: "
        "`dycoke inspect`.",
        _inspect,
    ),
    "methods": Document(
        "dycoke.methods/1", "Compression methods and their parameters: `dycoke methods`.", _methods
    ),
    "models": Document("dycoke.models/1", "Models of `dycoke models` and `models info`.", _models),
    "probe": Document("dycoke.probe/1", "The result of `dycoke probe`.", _probe),
    "tune": Document("dycoke.tune/1", "The result of `dycoke tune`.", _tune),
    "verify": Document("dycoke.verify/1", "The report of `dycoke verify`.", _verify),
}


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help=f"Which output: {', '.join(DOCUMENTS)}; without it, list them.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of an output.

    Examples:
        dycoke schema
        dycoke schema answer
    """
    if name is None:
        for each_name, document in DOCUMENTS.items():
            output.write(f"{each_name:<14}{document.description}\n")
        return
    if name not in DOCUMENTS:
        raise UsageError(f"there is no schema {name!r}; there is one of {', '.join(DOCUMENTS)}")
    output.write(json.dumps(read_schema(name), indent=2, ensure_ascii=False) + "\n")


def read_schema(name: str) -> dict[str, Any]:
    """Build a schema as an object; the parameters of methods come from their fields."""
    document = DOCUMENTS[name]
    schema = schema_of(document.schema, document.description, document.parts())
    # The field is a plain dict in the dataclass: its keys depend on the method.
    for part in {"answer", "refusal", "estimate"} & schema["$defs"].keys():
        schema["$defs"][part]["properties"]["method"] = method_schema()
    return schema
