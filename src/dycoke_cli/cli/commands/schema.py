"""`dycoke schema`: JSON Schemas of the program's output, derived from its dataclasses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

from dycoke_cli.answer.answer import answer_parts, batch_parts, failure_part
from dycoke_cli.answer.json_schema import SchemaVariant, schema_of
from dycoke_cli.cli import output
from dycoke_cli.cli.flags.options import flag_table
from dycoke_cli.compression.registry import method_schema
from dycoke_cli.errors import UsageError


@dataclass(frozen=True)
class Document:
    """JSON document of a command.

    Args:
        description: what it is, and which command prints it.
        parts: its variants; or the name of the only one beside errors, with the place of its
            dataclass, whose module takes time to import.
        failure: keys that errors have beside their own.
    """

    schema: str  # name of its schema, the value of the key `schema`
    description: str
    parts: Callable[[], Mapping[str, SchemaVariant]] | tuple[str, str]
    failure: tuple[str, ...] = ()

    def variants(self) -> Mapping[str, SchemaVariant]:
        """The objects that it may be."""
        if not isinstance(self.parts, tuple):
            return self.parts()
        part, place = self.parts
        module, _, name = place.partition(":")
        kind = getattr(import_module(module), name)
        return {part: SchemaVariant(kind), "error": failure_part(*self.failure)}


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
    "bench": Document(
        "dycoke.bench/1",
        "The result of `dycoke bench`.",
        ("report", "dycoke_cli.bench.bench_report:BenchReport"),
    ),
    "cache": Document(
        "dycoke.cache/1",
        "What `dycoke cache` counts.",
        ("cache", "dycoke_cli.cli.commands.cache:CacheState"),
    ),
    "doctor": Document(
        "dycoke.doctor/1",
        "The report of `dycoke doctor`.",
        ("diagnosis", "dycoke_cli.cli.commands.doctor:Diagnosis"),
    ),
    "error": Document(
        "dycoke.error/1",
        "A usage error with `--json` of an unknown command.",
        lambda: {"error": failure_part()},
    ),
    "estimate": Document(
        "dycoke.estimate/1",
        "What an answer would cost: `--estimate`.",
        ("estimate", "dycoke_cli.engine.memory.cost:Cost"),
        ("video", "question", "model"),
    ),
    "eval": Document(
        "dycoke.eval/1",
        "The report of `dycoke eval`.",
        ("report", "dycoke_cli.evaluation.report.evaluation_report:EvalReport"),
        ("benchmark",),
    ),
    "eval-list": Document(
        "dycoke.eval-list/1",
        "The benchmarks of `dycoke eval --list`.",
        ("list", "dycoke_cli.cli.commands.benchmarks:BenchmarkList"),
    ),
    "inspect": Document(
        "dycoke.inspect/1",
        "What each method kept of a video, and what each token of the answer attended to: "
        "`dycoke inspect`.",
        ("inspection", "dycoke_cli.inspect.inspection:Inspection"),
        ("video", "question"),
    ),
    "methods": Document(
        "dycoke.methods/1",
        "Compression methods and their parameters: `dycoke methods`.",
        ("methods", "dycoke_cli.cli.commands.methods:MethodList"),
    ),
    "models": Document(
        "dycoke.models/1",
        "Models of `dycoke models` and `models info`.",
        ("models", "dycoke_cli.cli.commands.model_documents:ModelList"),
    ),
    "probe": Document(
        "dycoke.probe/1",
        "The result of `dycoke probe`.",
        ("video", "dycoke_cli.cli.commands.probe:Probed"),
        ("video",),
    ),
    "verify": Document(
        "dycoke.verify/1",
        "The report of `dycoke verify`.",
        ("report", "dycoke_cli.verification.verification_report:VerificationReport"),
        ("model",),
    ),
}


_FLAGS = flag_table(f"""
    NAME: Which output: {", ".join(DOCUMENTS)}; without it, list them.
""")


def schema(name: Annotated[str | None, _FLAGS["NAME"]] = None) -> None:
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
    schema = schema_of(document.schema, document.description, document.variants())
    # The field is a plain dict in the dataclass: its keys depend on the method.
    for part in {"answer", "estimate"} & schema["$defs"].keys():
        schema["$defs"][part]["properties"]["method"] = method_schema()
    return schema
