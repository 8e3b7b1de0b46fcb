"""A few videos at a time, with a model and decoders that stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs import local
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.ray.cluster import Workers
from dycoke_cli.runs.ray.workers import _request_of_workers
from dycoke_cli.runs.worker import load_slices
from tests.runs.parts import CLIPS, PLAN, REQUEST, settled_in

psutil = pytest.importorskip("psutil")


@pytest.mark.extended
@pytest.mark.slow
def test_slices_get_the_answers_of_the_local_engine() -> None:
    groups = [
        group
        for group in settled_in(CLIPS, "What?", "Where?")
        if "minute" not in group[0].videos[0].name
    ]
    whole = {o.key: o.line["answer"] for o in local.answers(groups, PLAN, Listener())}
    answer = load_slices(PLAN, 2)
    parts, decoders = [], []
    for part in (groups[:3], [], groups[3:]):
        parts += answer(part)
        decoders.append({child.pid for child in psutil.Process().children()})
    assert {outcome.key: outcome.line["answer"] for outcome in parts} == whole
    assert len(parts) == len(whole) == 2 * len(groups)
    assert decoders[0]
    assert decoders[0] <= decoders[2], "decoders were started anew"


def test_what_workers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    request = replace(REQUEST, model="my-model", loading=LoadOptions())
    on_cpus, on_gpus = (_request_of_workers(request, Workers(2, 1, gpus)) for gpus in (0, 1))
    assert on_cpus.model == str(tmp_path / "my-model")
    assert (on_cpus.loading.device, on_gpus.loading.device) == ("cpu", "auto")
    assert _request_of_workers(REQUEST, Workers(2, 1, 1)).model == "mini"
    chosen = replace(request, loading=LoadOptions(device="cuda"))
    assert _request_of_workers(chosen, Workers(2, 1, 0)).loading.device == "cuda"
