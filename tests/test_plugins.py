"""Plug-ins in the registries: what is taken in, what is refused and by which sentence."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import plugins
from dycoke_cli.compression import registry
from dycoke_cli.compression.method import Method, SelectionInputs
from dycoke_cli.engine.explaining import explain
from dycoke_cli.engine.selecting import selected
from dycoke_cli.evaluation import datasets
from dycoke_cli.models.families import table
from tests.cli.harness import REAL, Outcome, run_process
from tests.pages import files_shown, section

FILES = files_shown(section("reference.md", "Plug-ins"))
STRIDE, BENCHMARK = FILES["stride.py"], FILES["yesno.py"]
FAMILY = """
from dycoke_cli import FAMILIES as BUNDLED

FAMILIES = {"my_vl": BUNDLED["llava_onevision"]}
"""
LAST_LINE = STRIDE.rstrip().count("\n") + 1
REGISTRIES: dict[plugins.Kind, tuple[Any, str, Callable[[str, Any], None]]] = {
    "method": (registry, "METHODS", registry._register),
    "benchmark": (datasets, "DATASETS", datasets._check),
    "family": (table, "FAMILIES", table._check),
}

Load = Callable[..., dict[str, list[str]]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Load]:
    """Extends copies of the registries by files and packages; returns what each got."""
    caches = plugins.files, plugins._imported, plugins._installed
    for name in ("problems", "_versions", "_homes"):
        monkeypatch.setattr(plugins, name, type(getattr(plugins, name))())
    for module, name, _ in REGISTRIES.values():
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    monkeypatch.setenv(plugins.ENVIRONMENT, "")

    def loaded(
        *files: str, packages: dict[str, dict[str, str]] | None = None
    ) -> dict[str, list[str]]:
        for cache in caches:
            cache.cache_clear()
        named = []
        for number, text in enumerate(files):
            named.append(tmp_path / f"plug-{number}.py")
            named[-1].write_text(text)
        monkeypatch.setenv(plugins.ENVIRONMENT, os.pathsep.join(map(str, named)))
        found = [
            importlib.metadata.EntryPoint(name, value, "dycoke.methods")._for(Package(package))
            for package, offers in (packages or {}).items()
            for name, value in offers.items()
        ]
        entries = importlib.metadata.EntryPoints(found)
        monkeypatch.setattr(plugins, "_installed", lambda: entries)
        got = {}
        for kind, (module, name, check) in REGISTRIES.items():
            all_ = getattr(module, name)
            before = len(all_)
            plugins.extend(kind, all_, check)
            got[kind] = [*all_][before:]
        return got

    yield loaded
    for cache in caches:
        cache.cache_clear()


class Package:
    """An installed package, as far as an entry point asks."""

    version = "1.2"

    def __init__(self, name: str) -> None:
        self.name = name


def test_a_file_offers_all_kinds(load: Load) -> None:
    # Each imports registries that are only then extended, by the others, too.
    got = load(STRIDE, BENCHMARK, FAMILY)
    assert got == {"method": ["stride"], "benchmark": ["yesno"], "family": ["my_vl"]}
    assert plugins.problems == []
    assert registry.create("stride", stride=2).kept_tokens(5, 10) == 30
    assert datasets.class_of("yesno").about.title == "Yes or no"
    assert table.FAMILIES["my_vl"] is table.FAMILIES["llava_onevision"]


def test_an_error_in_a_plug_in_names_it_with_file_and_line(load: Load, tmp_path: Path) -> None:
    first = "        frames, per_frame"
    load(STRIDE.replace(first, f"        features.nothing\n{first}", 1))
    features = torch.rand(2, 3, 4)
    with pytest.raises(AttributeError) as error:
        selected(registry.create("stride"), SelectionInputs(features))
    sentence = str(explain(error.value))
    line = STRIDE[: STRIDE.index(first)].count("\n") + 1
    place = f"select of the plug-in plug-0.py ({tmp_path / 'plug-0.py'}, line {line})"
    assert sentence == (
        f"{place} failed: AttributeError: 'Tensor' object has no attribute 'nothing'"
    )
    memory = MemoryError()
    memory.__traceback__ = error.value.__traceback__
    assert "memory ran out" in str(explain(memory))
    assert "something unexpected went wrong" in str(explain(ValueError("elsewhere")))


def test_what_is_recorded_of_a_method_changes_with_its_file(load: Load, tmp_path: Path) -> None:
    load(STRIDE)
    first = registry.identity(registry.create("stride"))
    assert first["name"] == "stride"
    assert first["plugin"].startswith("plug-0.py ")
    registry.METHODS.pop("stride")
    load(STRIDE.replace("= 4", "=4"))
    assert registry.identity(registry.create("stride")) != first
    assert registry.identity(registry.create("dycoke")) == {"name": "dycoke"}


def test_an_edited_file_of_the_same_second_and_size_is_read_anew(load: Load) -> None:
    load(STRIDE)
    registry.METHODS.pop("stride")
    load(STRIDE.replace("= 4", "= 3"))
    assert registry.create("stride").parameters() == {"stride": 3}


def test_parameters_are_in_the_docstring(load: Load) -> None:
    load(STRIDE)
    text = registry.METHODS["stride"].__doc__
    assert text.splitlines()[0] == "Keep the first frame of every few."
    assert text.endswith("Args:\n    stride: Frames per frame kept. 1 or more. Default: 4.")


def test_no_bytecode_is_left_beside_a_file(load: Load, tmp_path: Path) -> None:
    load(STRIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["plug-0.py"]


BROKEN: dict[str, list[tuple[tuple[str, str], str | None]]] = {
    STRIDE: [
        (("@dataclass(frozen=True)\n", ""), "it isn't a dataclass that inherits Method"),
        (('{"stride"', '{"other"'), "must have the same `name`, of lower-case l"),
        (('"stride"', '"one-frame"'), "there is another row 'one-frame' of --methods"),
        (('"stride"', '"evs"'), "the name is taken by one of dycoke"),
        (("def select(", "def selects("), "it needs a title, a summary, and one of select"),
        (("] = 4", "] = 0"), "stride must be 1 or more, not 0"),
        (("] = 4", "]"), "TypeError: Stride.__init__() missing 1 required positional argument"),
        (("stride: Annotated[int", "stride: Annotated[list"), "TypeError: stride: a parameter"),
        (("stride: Ann", "window: Ann"), None),
        (("stride: Annotated[int", "retain: Annotated[int"), "its parameter retain means some"),
        (("stride: Ann", "plugin: Ann"), "its parameter plugin means something else"),
        (("METHODS = ", "Stride.__abstractmethods__ = {'a'}\nMETHODS = "), "TypeError: Can't inst"),
        (("METHODS = ", "METHOD = "), "it needs a dictionary by name, such as METHODS = {"),
        (("import Method", "import Methode"), "ImportError: cannot import name 'Methode'"),
        (("METHODS = ", "1 / 0\nMETHODS = "), f"division by zero (line {LAST_LINE})"),
        (("METHODS = ", "raise SystemExit(3)\nMETHODS = "), "SystemExit: 3"),
        (("METHODS = ", "METHODS == = "), "SyntaxError: invalid syntax"),
    ],
    BENCHMARK: [
        (("    def find(self, video):", "    def other(self, video):"), "its class has no find"),
        (("questions=2", "answers=2"), "TypeError: "),
        (("    about = About(", "    above = About("), "its class has no about"),
        (('{"yesno": YesNo', '{"yesno": 3'), "it isn't a class"),
        (('{"yesno"', '{"other"'), "its class has another name, 'yesno'"),
        (('"yesno"', '"Yes/No"'), "a name has lower-case letters"),
        (('"yesno"', '"mvbench_action_count"'), "that is a task of another benchmark"),
        (('"yesno"', '"shapes"'), "the name is taken by one of dycoke"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "edit", "why"), [(text, *row) for text, rows in BROKEN.items() for row in rows]
)
def test_a_broken_one_is_one_sentence_and_the_rest_goes_on(
    whole: str, edit: tuple[str, str], why: str | None, load: Load
) -> None:
    text = whole.replace(*edit)
    assert text != whole
    got = load(text, FAMILY)
    assert got["family"] == ["my_vl"]
    if why is None:
        assert (got["method"], plugins.problems) == (["stride"], [])
        return
    assert got["method"] == got["benchmark"] == []
    (sentence,) = plugins.problems
    assert sentence.startswith("plug-in ")
    assert "plug-0.py" in sentence
    assert why in sentence


def test_a_family_is_a_family(load: Load) -> None:
    assert load(FAMILY.replace('["llava_onevision"]', ""))["family"] == []
    assert "the family 'my_vl' isn't used: it isn't a Family" in plugins.problems[0]


def test_of_two_with_one_name_the_first_is_used(load: Load) -> None:
    packages = {"dycoke-a": {"stride": f"{__name__}:Other"}, "dycoke-b": {"stride": "nowhere:X"}}
    assert load(STRIDE, STRIDE + "\n", packages=packages)["method"] == ["stride"]
    first, *others = plugins.problems
    assert "plug-1.py: the method 'stride' isn't used: the name is taken by plug-0.py" in first
    assert [one[:24] for one in others] == ["plug-in dycoke-a 1.2: th", "plug-in dycoke-b 1.2: th"]


class Other(Method):
    """No dataclass of its own."""


def test_a_package_is_named_with_its_version(load: Load) -> None:
    packages = {"dycoke-a": {"stride": "nowhere:Stride"}, "dycoke-b": {"b": f"{__name__}:Other"}}
    load(packages=packages)
    assert plugins.problems == [
        "plug-in dycoke-a 1.2: the method 'stride' isn't used: "
        "ModuleNotFoundError: No module named 'nowhere'",
        "plug-in dycoke-b 1.2: the method 'b' isn't used: it isn't a dataclass that inherits "
        "Method, with @dataclass(frozen=True) above it",
    ]


def dycoke(*arguments: str, **environment: str) -> Outcome:
    return run_process(REAL, *arguments, fresh=True, **environment)


@pytest.mark.extended
def test_a_plug_in_of_the_environment_is_warned_of_once(tmp_path: Path) -> None:
    file = str(tmp_path / "gone.py")
    run = dycoke("methods", "none", DYCOKE_PLUGINS=file)
    sentence = f"plug-in {file}: it isn't used: No such file or directory\n"
    assert (run.code, run.err) == (0, f"Warning: {sentence}")
    run = dycoke("schema", "--quiet", DYCOKE_PLUGINS=file)
    assert "Warning" not in run.err


def test_an_unknown_name_may_be_that_of_a_plug_in_that_is_not_used(tmp_path: Path) -> None:
    """As where --quiet hides the warning."""
    file = tmp_path / "mine.py"
    file.write_text("METHODS = 3")
    run = dycoke("methods", "mine", "--json", DYCOKE_PLUGINS=str(file))
    message = json.loads(run.out)["error"]["message"]
    assert message.startswith("there is no method 'mine'; `dycoke methods` lists them; plug-in ")
    assert message.endswith('needs a dictionary by name, such as METHODS = {"stride": Stride}')


def test_two_files_of_one_name(tmp_path: Path) -> None:
    files = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for file, text in zip(files, (STRIDE, STRIDE.replace('"stride"', '"other"')), strict=True):
        file.parent.mkdir()
        file.write_text(f"from __future__ import annotations\n{text}")
    run = dycoke("methods", "other", "--json", DYCOKE_PLUGINS=os.pathsep.join(map(str, files)))
    assert (run.code, run.err) == (0, "")
    assert [one["name"] for one in json.loads(run.out)["methods"]] == ["other"]


UNPICKLE = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).stride)"


def python(*code: str, file: Path) -> Outcome:
    command = [sys.executable, "-c", *code]
    return run_process(command, fresh=True, **{plugins.ENVIRONMENT: str(file)})


def test_another_process_finds_the_class_by_name_if_the_file_is_the_same(
    tmp_path: Path,
) -> None:
    file = tmp_path / "stride.py"
    file.write_text(STRIDE)
    make = (
        "import pickle; from dycoke_cli.compression.registry import create; "
        "print(pickle.dumps(create('stride', stride=7)).hex())"
    )
    made = python(make, file=file).out.strip()
    assert python(UNPICKLE, made, file=file).out == "7\n"
    file.write_text(STRIDE + "# edited")
    for changed in (file, tmp_path / "none.py"):
        error = python(UNPICKLE, made, file=changed).err.splitlines()[-1]
        assert "the plug-in stride.py isn't here as it was where the run began" in error
