"""What can be known without torch is said without it, and the prompt comes back at once."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from dycoke_cli.models import devices
from dycoke_cli.models.catalog import published
from dycoke_cli.models.devices import FreeMemory
from tests.cli.harness import CLIP, ROOT, run_code, run_here, run_process
from tests.documents import valid
from tests.hub import Hub, Repo

# A folder with a model of that family.
MOLMO2 = "molmo2"
OFFLINE = "isn't on this machine and the hub can't be reached"

# Each ends without torch, and with this sentence.
WRONG = [
    (["ask", "nofile.mp4", "What?"], 3, "nofile.mp4 doesn't exist"),
    (["ask", CLIP, "What?", "--merge-ratio", "70"], 2, "did you mean 0.7?"),
    ([CLIP.parent, "What?"], 2, "is a folder: `dycoke batch"),
    (["ask", CLIP.parent / "*.mp4", "What?"], 2, "is a pattern: `dycoke batch"),
    (["ask", CLIP, CLIP, "What is it?"], 2, "mini is shown one video at a time"),
    (["ask", "--model", "qwen2.5-vl-3b", CLIP, "-", "What is it?", "--estimate"], 2, "one video"),
    (["ask", "What is it?"], 2, "no video"),
    (["ask", CLIP], 2, "no question"),
    (["ask", CLIP, "Who is it?", "What is it?"], 2, "ask several questions with -q"),
    (["ask", "What", CLIP, "is", "it"], 2, "put it in quotes"),
    (["https://example.org/clip.mp4", "What?"], 3, "download it first"),
    (["ask", __file__, "What?"], 3, "is a text file, not a video"),
    (["akk", CLIP, "What?"], 2, "did you mean `dycoke ask`?"),
    (["ask", CLIP, "What?", "--temperature", "-1"], 2, "--temperature must be 0 or more"),
    (["ask", CLIP, "What?", "--model", "minni"], 4, "did you mean mini?"),
    (["ask", CLIP, "What?", "--method", "dycok"], 2, "did you mean dycoke?"),
    (["ask", CLIP, "What?", "--prune-layer", "99"], 2, "--prune-layer must be from 1 to 9"),
    (["ask", CLIP, "What?", "--model", "llava-onevision-0.5b"], 4, OFFLINE),
    (["batch", "nofolder", "What?"], 2, "nofolder doesn't exist"),
    (["eval", "shapez"], 2, "did you mean shapes?"),
    (["bench", CLIP, "--methods", "dycok"], 2, "did you mean dycoke?"),
    (["bench", CLIP, "--methods", "kv:prune_layer=99"], 2, "prune_layer must be from 1 to 9"),
    (["probe", "nofile.mp4"], 3, "nofile.mp4 doesn't exist"),
    (["ask", CLIP, "--estimate", "--prune-layer", "99"], 2, "--prune-layer must be from 1"),
    (["ask", CLIP, "--estimate", "--device", "gpu"], 2, "--device must be auto, cpu, cuda"),
    (["ask", CLIP, "--estimate", "--model", "qwen3-vl-32b"], 4, OFFLINE),
    (
        ["ask", CLIP, "--estimate", "--model", "qwen2.5-vl-7b", "--method", "visionzip"],
        2,
        "needs the vision encoder's attention",
    ),
    (
        ["ask", CLIP, "What?", "--merge-stage", "vision", "--model", MOLMO2],
        2,
        "--merge-stage vision isn't supported for the family 'molmo2'",
    ),
]
RIGHT = [
    ["probe", CLIP],
    ["models", "info", "qwen2.5-vl-7b"],
    ["models"],
    ["methods"],
    ["help"],
    ["help", "ask"],
]


# What each left: whether torch is there by now, the exit code, stderr.
PROGRAM = """
import json, sys
from tests.cli.harness import run_here
for arguments in json.loads(sys.argv[1]):
    run = run_here(*arguments)
    print(json.dumps(["torch" in sys.modules, run.code, run.err]))
"""


@pytest.mark.slow
def test_what_is_known_without_a_model_costs_no_import_of_torch(tmp_path: Path) -> None:
    """One after the other in one process: the first that imports torch is the first that fails."""
    molmo2 = tmp_path / MOLMO2
    molmo2.mkdir()
    (molmo2 / "config.json").write_text('{"model_type": "molmo2"}')
    (molmo2 / "model.safetensors").write_text("")
    told = [*WRONG, *((words, 0, "") for words in RIGHT)]
    there = [[str(molmo2 if word == MOLMO2 else word) for word in words] for words, *_ in told]
    program = [sys.executable, "-c", PROGRAM, json.dumps(there)]
    path = os.pathsep.join((str(ROOT), *sys.path))
    done = run_process(program, HF_HUB_OFFLINE="1", PYTHONPATH=path)
    assert done.code == 0, done.err
    for (words, code, sentence), left in zip(told, done.objects, strict=True):
        needed, exit_code, said = left
        assert sentence in said, words
        assert (needed, exit_code) == (False, code), words


def test_an_estimate_is_a_table_or_an_object() -> None:
    run = run_here("ask", CLIP, "--estimate", "--json", "--model", "llava-onevision-7b")
    document = valid(run.object, "estimate")
    assert document["video"] == str(CLIP)
    assert document["tokens"]["visual_kept"] == 8 * 196 + 24 * 58
    text = run_here("ask", CLIP, "--estimate", "--model", "llava-onevision-7b").out
    assert "41.3 T" in text
    assert "17.7 T" in text
    assert document["seconds"] > 0
    assert re.search(r"Takes\s+about\s+[\d.]+\s+(s|min|h)\.", text)


def test_an_estimate_on_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(gigabytes: int) -> None:
        machine = FreeMemory(64 * 10**9, (gigabytes * 10**9,))
        monkeypatch.setattr(devices, "this_machine", lambda: machine)

    ask = ("ask", CLIP, "--estimate", "--model", "llava-onevision-7b", "--device", "cuda")
    of(12)
    small = valid(run_here(*ask, "--json").object, "estimate")
    assert (small["device"], small["free"], small["fits"]) == ("cuda", 12 * 10**9, "no")
    assert small["would_fit"] == ["--quantize int8"]
    told = run_here(*ask).out
    assert re.search(
        r"Doesn't fit: 16\.\d GB and a reserve of 1\.\d\d GB don't fit the 12 GB of memory; "
        r"--quantize int8 would\.",
        " ".join(told.split()),
    )
    of(24)
    assert "Fits the GPU (24 GB)." in run_here(*ask).out


@pytest.mark.extended
def test_an_estimate_of_what_the_hub_has(tmp_path: Path) -> None:
    """Its config.json alone is fetched, in one process; a second one needs no hub."""
    config = json.dumps(published("qwen2.5-vl-3b").config).encode()
    ask = ("ask", CLIP, "--estimate", "--json", "--device", "cuda", "--model", "qwen2.5-vl-32b")
    program = [sys.executable, "-m", "dycoke_cli", *map(str, ask)]
    with Hub({"Qwen/Qwen2.5-VL-32B-Instruct": Repo({"config.json": config})}) as hub:
        environment = hub.environment(tmp_path)
        done = run_process(program, **environment)
        assert done.code == 0, done.err
        assert [file for _, file, _ in hub.fetched] == ["config.json"]
    assert json.loads(done.out)["bytes"]["weights"] == pytest.approx(7.5e9, rel=0.01)
    again = run_process(program, **environment, HF_HUB_OFFLINE="1")
    assert json.loads(again.out)["bytes"] == json.loads(done.out)["bytes"]


def test_a_download_is_told_before_the_video_is_decoded(
    fake: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dycoke_cli.loop import unloaded_model

    monkeypatch.setattr(unloaded_model, "is_here", lambda source: False)
    monkeypatch.setattr(unloaded_model, "model_folder", lambda source, revision: None)
    run = run_here("ask", CLIP, "What?", "--model", "llava-onevision-0.5b")
    assert run.code == 0
    assert "llava-onevision-0.5b isn't on this machine yet: 1.8 GB are downloaded first" in run.err


def test_the_exit_code_survives_leaving_at_once() -> None:
    code = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
        "import atexit; atexit.register(lambda: print('taken apart'))\n"
        "from dycoke_cli.cli import main\n"
        "main.main = lambda: (sys.stdout.write('kept'), 3)[1]\n"
        "main.run()"
    )
    run = run_code(code)
    assert (run.code, run.out) == (3, "kept")


def test_a_folder_is_never_looked_for_on_the_hub(
    fake: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dycoke_cli.loop import unloaded_model

    def ask_the_hub(source: object, revision: object) -> None:
        raise AssertionError("asked the hub")

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(unloaded_model, "is_here", lambda source: False)
    monkeypatch.setattr(unloaded_model, "model_folder", ask_the_hub)
    assert run_here("ask", CLIP, "What?", "--model", tmp_path).code == 0
