"""`dycoke eval --server`: tables of what a server answers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import Outcome, run_here
from tests.documents import valid
from tests.runs.remote.endpoint import Endpoint, Reply, said, serving

SMALL = ("--split", "validation", "--limit", "2", "--frames", "2")


pytestmark = pytest.mark.usefixtures("samples")


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Import torch before a test is timed."""
    import_module("dycoke_cli.evaluation.eval_run")


def evaluate(endpoint: Endpoint, out: Path, *flags: str) -> Outcome:
    return run_here("eval", "samples", *SMALL, "--out", out, "--server", endpoint.url, *flags)


def method_of(body: dict[str, Any]) -> str:
    return str(body["dycoke"]["method"]) if "dycoke" in body else "blind"


def test_rows_by_method_and_null_for_what_a_server_doesnt_tell(tmp_path: Path) -> None:
    with serving(lambda body: said(body, f"{method_of(body)} says")) as endpoint:
        run = evaluate(endpoint, tmp_path, "--methods", "none,evs:retain=0.5,no-video", "--json")
        again = evaluate(endpoint, tmp_path, "--methods", "none,evs:retain=0.5,no-video")
    assert run.code == again.code == 0
    assert sorted(map(method_of, endpoint.bodies)) == [
        *["blind"] * 2, *["evs:retain=0.5"] * 2, *["none"] * 2,
    ]  # fmt: skip
    blind = [body for body in endpoint.bodies if method_of(body) == "blind"]
    assert {part["type"] for body in blind for part in body["messages"][0]["content"]} == {"text"}
    report = valid(run.object, "eval", "report")
    assert report["model"] == {"name": "seen"} | dict.fromkeys(
        ("revision", "weights", "dtype", "device")
    )
    base, pruned, _ = report["rows"]
    assert (base["questions"], base["failed"], pruned["changed"]) == (2, 0, 2)
    assert pruned["seconds"] > 0
    unknown = ("kept_before_llm", "kept_in_decode", "seconds_prefill", "seconds_decode", "bytes")
    assert {row[key] for row in report["rows"] for key in unknown} == {None}
    assert not report["warnings"]
    rows = [line for line in again.out.splitlines() if line.startswith("2 ")]
    assert max(row.count("–") for row in rows) == 4, again.out
    assert "on a server" in again.out
    shown = run_here("eval", "report", tmp_path, "--json")
    assert shown.object["rows"] == report["rows"]


def test_a_row_that_the_server_refuses_ends_the_run_before_a_question(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        if method_of(body) == "fastv":
            return 400, {"error": {"message": "fastv can't run in vLLM"}}
        return said(body)

    with serving(reply) as endpoint:
        run = evaluate(endpoint, tmp_path, "--methods", "none,fastv")
        assert not endpoint.bodies
        every = evaluate(endpoint, tmp_path, "--methods", "all", "--json")
    assert "--methods fastv: the server refuses the request: fastv can't run in vLLM" in run.refusal
    report = every.object
    assert "fastv" not in [row["spec"] for row in report["rows"]]
    assert report["warnings"][0] == "seen can't serve all methods; skipped: fastv"
