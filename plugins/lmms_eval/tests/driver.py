"""In a process of its own, for it changes other packages: evaluations by lmms-eval.

    python driver.py PLAN OUT

The plan is a JSON object: `tasks`, a folder; `runs`, each the arguments of `simple_evaluate`. For
each OUT has its answers, scores, tokens and how often a video was encoded, or the error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager

from dycoke_cli.engine import vision


def evaluated(tasks: TaskManager, arguments: dict[str, Any]) -> dict[str, Any] | None:
    with mock.patch.object(vision, "encode_video", wraps=vision.encode_video) as encoded:
        try:
            found = simple_evaluate(model="dycoke", task_manager=tasks, **arguments)
        except Exception as error:
            return {"error": str(error), "trace": traceback.format_exc()}
    if found is None:  # not the first of several processes
        return None
    (task,) = arguments["tasks"]
    samples = sorted(found["samples"][task], key=lambda one: one["doc_id"])
    return {
        "answers": [one["filtered_resps"][0] for one in samples],
        "scores": [one.get("exact") for one in samples],
        "score": found["results"][task].get("exact,none"),
        "metrics": [name for name in found["results"][task] if name.endswith(",none")],
        "tokens": [one["token_counts"][0] for one in samples],
        "throughput": found.get("throughput"),
        "encoded": encoded.call_count,
    }


def main(plan: str, out: str) -> None:
    told = json.loads(Path(plan).read_text())
    tasks = TaskManager("ERROR", include_path=told["tasks"], include_defaults=False)
    results = [evaluated(tasks, run) for run in told["runs"]]
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
