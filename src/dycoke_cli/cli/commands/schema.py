"""`dycoke schema`: JSON Schemas of the program's output, derived from its dataclasses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import answer_parts, batch_parts, failure_part
from dycoke_cli.answer.json_schema import SchemaVariant, schema_of
from dycoke_cli.cli import output
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.compression.registry import method_schema
from dycoke_cli.errors import UsageError


@dataclass(frozen=True)
class Document:
    """JSON document of a command."""

    schema: str  # name of its schema, the value of the key `schema`
    description: str  # what it is, and which command prints it
    # returns its variants. A function, because importing their modules takes time.
    parts: Callable[[], Mapping[str, SchemaVariant]]


def _bench() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.bench.bench_report import BenchReport

    return {"report": SchemaVariant(BenchReport), "error": failure_part()}


def _cache() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.cache import CacheState

    return {"cache": SchemaVariant(CacheState), "error": failure_part()}


def _doctor() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.doctor import Diagnosis

    return {"diagnosis": SchemaVariant(Diagnosis), "error": failure_part()}


def _estimate() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.engine.memory.cost import Cost

    return {"estimate": SchemaVariant(Cost), "error": failure_part("video", "question", "model")}


def _eval() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.evaluation.report.evaluation_report import EvalReport

    return {"report": SchemaVariant(EvalReport), "error": failure_part("benchmark")}


def _eval_check() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.evaluation.check import DatasetCheck

    return {"check": SchemaVariant(DatasetCheck), "error": failure_part("benchmark")}


def _eval_list() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.benchmarks import BenchmarkList

    return {"list": SchemaVariant(BenchmarkList), "error": failure_part()}


def _inspect() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.inspect.inspection import Inspection

    return {"inspection": SchemaVariant(Inspection), "error": failure_part("video", "question")}


def _methods() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.methods import MethodList

    return {"methods": SchemaVariant(MethodList), "error": failure_part()}


def _models() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.model_documents import ModelList

    return {"models": SchemaVariant(ModelList), "error": failure_part()}


def _probe() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.cli.commands.probe import Probed

    return {"video": SchemaVariant(Probed), "error": failure_part("video")}


def _verify() -> Mapping[str, SchemaVariant]:
    from dycoke_cli.verification.verification_report import VerificationReport

    return {"report": SchemaVariant(VerificationReport), "error": failure_part("model")}


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
        batch_parts,
    ),
    "bench": Document("dycoke.bench/1", "The result of `dycoke bench`.", _bench),
    "cache": Document("dycoke.cache/1", "What `dycoke cache` counts.", _cache),
    "doctor": Document("dycoke.doctor/1", "The report of `dycoke doctor`.", _doctor),
    "error": Document(
        "dycoke.error/1",
        "A usage error with `--json` of an unknown command.",
        lambda: {"error": failure_part()},
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
    "verify": Document("dycoke.verify/1", "The report of `dycoke verify`.", _verify),
}


_FLAGS = flag_table(f"""
    NAME: Which output: {", ".join(DOCUMENTS)}; without it, list them.
""")


def schema(
    name: Annotated[str | None, _FLAGS["NAME"]] = None,
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
