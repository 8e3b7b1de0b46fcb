"""Large imports: no garbage is collected meanwhile, and nothing of that is left behind."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys

import pytest

from dycoke_cli.stock.importing import faster_imports


@pytest.fixture(autouse=True)
def thawed() -> None:
    yield
    gc.unfreeze()


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_waits_and_is_then_as_it_was(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError), faster_imports():
            importlib.import_module("none.of.this_name" if not gc.isenabled() else "gc")
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def test_what_was_imported_is_never_looked_through_again() -> None:
    with faster_imports():
        made = [[]]
    assert all(one is not made for one in gc.get_objects())
    assert gc.get_freeze_count() > 1000


@pytest.mark.extended
def test_the_files_of_the_models_are_listed_once() -> None:
    code = """
from transformers.utils import import_utils
scanned, scan = [], import_utils.create_import_structure_from_path
import_utils.create_import_structure_from_path = lambda path: scanned.append(path) or scan(path)
from dycoke_cli.stock.importing import faster_imports
with faster_imports():
    import transformers.models as models
assert scanned == []
structure = import_utils.define_import_structure(models.__file__)
alone = import_utils._LazyModule(models.__name__, models.__file__, structure)
assert scanned
assert dir(models) == dir(alone)
assert models._import_structure == alone._import_structure
assert models._class_to_module == alone._class_to_module
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.extended
@pytest.mark.slow
def test_no_library_complains_at_the_end_that_something_of_it_is_left() -> None:
    """Triton's bindings count what nobody has collected, and say so on stderr."""
    code = (
        "from dycoke_cli.stock.importing import faster_imports\n"
        "with faster_imports(): import dycoke_cli.engine.session"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
