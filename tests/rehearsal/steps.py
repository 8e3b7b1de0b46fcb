"""What a user types about a model for the first time, and what each command must leave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.harness import CLIP, Outcome
from tests.hub import COMMIT, Repo

QUESTION = "What does the blue star do?"
READ = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""How the names of files end that loading reads."""

_FRAMES, _WORDS = 4, 4
_SMALL_ANSWER = ("--frames", str(_FRAMES), "--max-tokens", str(_WORDS))
CUT = "the answer was cut after"
NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@dataclass
class Place:
    """Where a model is rehearsed."""

    name: str  # of the catalog
    folder: Path  # of whatever the commands leave
    repo: Repo  # what the hub has
    answers: dict[str, str] = field(default_factory=dict)  # of the model, by step
    weights_bytes: int = 0  # as of the estimate

    @property
    def config(self) -> dict[str, Any]:
        """As the hub has it."""
        parsed: dict[str, Any] = json.loads(self.repo.files["config.json"])
        return parsed

    @property
    def cache(self) -> Path:
        """Of the hub client."""
        return self.folder / "home" / "hub"

    @property
    def clips(self) -> Path:
        """A folder with one video."""
        return self.folder / "clips"

    def environment(self) -> dict[str, str]:
        """What keeps the commands in the folder."""
        return {
            "DYCOKE_MODEL": self.name,
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }


@dataclass(frozen=True)
class Step:
    """A command."""

    name: str  # of the step
    arguments: tuple[str, ...]  # behind `dycoke`
    check: Callable[[Outcome], None]  # looks at what it left; raises AssertionError
    code: int = 0  # that it exits with
    environment: dict[str, str] = field(default_factory=dict)  # beside that of all


def steps(place: Place) -> Iterator[Step]:
    """All commands, in the order in which they are typed."""
    name, folder = place.name, place.folder

    ask = ("ask", str(CLIP), QUESTION, *_SMALL_ANSWER, "--json")

    def asked(step: str, *more: str, **environment: str) -> Step:
        def check(run: Outcome) -> None:
            _answered(run, place, step)

        return Step(step, (*ask, *more), check, environment=environment)

    lines = str(folder / "answers.jsonl")
    batch = ("batch", str(place.clips), QUESTION, *_SMALL_ANSWER, "--out", lines)
    # Random weights never end an answer.
    methods = ("--methods", "none,dycoke", "--limit", "1", *_SMALL_ANSWER, "--json")
    report = folder / "report.json"
    yield Step("pull", ("models", "pull", name), lambda run: _pulled(run, place))
    yield Step("pull again", ("models", "pull", name, "--quiet"), _nothing_fetched)
    yield Step("list", ("models", "list", "--downloaded", "--json"), lambda run: _listed(run, name))
    yield Step("info", ("models", "info", name, "--json"), lambda run: _described(run, place))
    yield Step("estimate", (*ask, "--estimate"), lambda run: _estimated(run, place))
    yield asked("ask")
    yield asked("ask without a method", "--method", "none")
    yield Step("batch", batch, lambda run: _batched(Path(lines)))
    yield Step(
        "verify",
        ("verify", name, "--frames", str(_FRAMES), "--out", str(report)),
        lambda run: _is(run.out.splitlines()[-1], f"{name}: verified"),
    )
    yield Step("eval", ("eval", "shapes", *methods), _scored)
    yield asked("offline", **OFFLINE)
    yield asked("without a hub", **NOWHERE)


def failure(step: Step, run: Outcome) -> str | None:
    """What isn't as it should be after a step, in one line; None where all is."""
    said = f"exit {run.code}, stderr: {run.err[-2000:]!r}"
    if run.code != step.code:
        return f"{step.name}: {said}"
    # Python's warnings are named after their class; "Warning: " begins a sentence of ours.
    if "Traceback" in run.err or re.search(r"\wWarning\b", run.err):
        return f"{step.name}: speaks of itself: {said}"
    try:
        step.check(run)
    except (AssertionError, LookupError, ValueError) as error:
        return f"{step.name}: {type(error).__name__} {error}, stdout: {run.out[-2000:]!r}, {said}"
    return None


def whole(place: Place) -> None:
    """Check that what is in the cache is what the hub has, all that loading reads and no more."""
    wanted = {file for file in place.repo.files if file.endswith(READ) and "/" not in file}
    (snapshot,) = place.cache.glob("models--*/snapshots/*")
    _is({path.name for path in snapshot.iterdir()}, wanted)
    for file in wanted:
        assert (snapshot / file).read_bytes() == place.repo.files[file], file
    _is(list(place.cache.rglob("*.incomplete")), [])


def _pulled(run: Outcome, place: Place) -> None:
    _is(run.out, f"{COMMIT}\n")
    whole(place)


def _nothing_fetched(run: Outcome) -> None:
    _is((run.out, run.err), (f"{COMMIT}\n", ""))


def _listed(run: Outcome, name: str) -> None:
    here = [model["name"] for model in run.object["models"]]
    _is(here, ["mini", name])


def _described(run: Outcome, place: Place) -> None:
    (model,) = run.object["models"]
    assert model["on_disk"]["complete"]
    _is(model["family"], place.config["model_type"])


def _estimated(run: Outcome, place: Place) -> None:
    place.weights_bytes = run.object["bytes"]["weights"]


def _answered(run: Outcome, place: Place, step: str) -> None:
    document = run.object
    place.answers[step] = document["answer"]
    _is(document["tokens"]["generated"], _WORDS)
    _is([w for w in document["warnings"] if CUT not in w], [])
    _is(document["bytes"]["weights"], place.weights_bytes)
    if step in ("offline", "without a hub"):
        _is(place.answers[step], place.answers["ask"])


def _batched(lines: Path) -> None:
    (line,) = [json.loads(text) for text in lines.read_text().splitlines()]
    assert "answer" in line, line


def _scored(run: Outcome) -> None:
    _is([row["method"] for row in run.object["rows"]], ["none", "dycoke"])


def _is(found: Any, wanted: Any) -> None:
    assert found == wanted, f"{found} != {wanted}"
