"""`dycoke schema`: JSON Schemas of the program's output, derived from its dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

from dycoke_cli.answer.answer import answer_parts, batch_parts, failure_part
from dycoke_cli.answer.json_schema import SchemaVariant, schema_of
from dycoke_cli.cli import output
from dycoke_cli.cli.flags.shared_flags import flag_table
from dycoke_cli.compression.registry import method_schema
from dycoke_cli.errors import UsageError

# Of each document: what prints it, the name of its object in the schema, the dataclass of this,
# whose module takes time to import, and keys that errors have beside their own.
_OBJECTS = {
    "bench": ("bench", "report", "bench.bench_report:BenchReport", ""),
    "cache": ("cache", "cache", "cli.commands.cache:CacheState", ""),
    "doctor": ("doctor", "diagnosis", "cli.commands.doctor:Diagnosis", ""),
    "estimate": ("ask --estimate", "estimate", "engine.memory.cost:Cost", "video question model"),
    "eval": ("eval", "report", "evaluation.evaluation_report:EvalReport", "benchmark"),
    "inspect": ("inspect", "inspection", "inspect.inspection:Inspection", "video question"),
    "methods": ("methods", "methods", "cli.commands.methods:MethodList", ""),
    "models": ("models", "models", "cli.commands.model_documents:ModelList", ""),
    "probe": ("probe", "video", "cli.commands.probe:Probed", "video"),
    "status": ("serve status", "status", "server.local.wire:ServerStatus", ""),
    "verify": ("verify", "report", "verification.verification_report:VerificationReport", "model"),
}
_DESCRIPTIONS = {
    "answer": "Answer, or why there is none: `dycoke ask --json`, a line of `dycoke batch`.",
    "batch": "Line of `dycoke batch`: an answer, a refusal or an error, with the keys of a batch.",
    "error": "A usage error with `--json` of an unknown command.",
    **{name: f"Object of `dycoke {row[0]} --json`." for name, row in _OBJECTS.items()},
}
DOCUMENTS = dict(sorted(_DESCRIPTIONS.items()))


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
        for each, description in DOCUMENTS.items():
            output.write(f"{each:<14}{description}\n")
        return
    if name not in DOCUMENTS:
        raise UsageError(f"there is no schema {name!r}; there is one of {', '.join(DOCUMENTS)}")
    output.write(json.dumps(read_schema(name), indent=2, ensure_ascii=False) + "\n")


def id_of(name: str) -> str:
    """Value of the key `schema` of a document."""
    return f"dycoke.{'answer' if name == 'batch' else name}/1"


def read_schema(name: str) -> dict[str, Any]:
    """Build a schema as an object; the parameters of methods come from their fields."""
    schema = schema_of(id_of(name), DOCUMENTS[name], _variants(name))
    # The field is a plain dict in the dataclass: its keys depend on the method.
    for part in {"answer", "estimate"} & schema["$defs"].keys():
        unreported = [{"type": "null"}] if part == "answer" else []
        found = {"anyOf": [method_schema(), *unreported]}
        schema["$defs"][part]["properties"]["method"] = found
    return schema


def _variants(name: str) -> Mapping[str, SchemaVariant]:
    """The objects that a document may be."""
    if name in ("answer", "batch"):
        return answer_parts() if name == "answer" else batch_parts()
    if name == "error":
        return {"error": failure_part()}
    _, part, place, failure = _OBJECTS[name]
    module, _, kind = place.partition(":")
    found = getattr(import_module(f"{__name__.partition('.')[0]}.{module}"), kind)
    return {part: SchemaVariant(found), "error": failure_part(*failure.split())}
