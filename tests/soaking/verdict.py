"""What is right of a soaked run, and what isn't."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema

from dycoke_cli.cli.commands.schema import read_schema
from tests.soaking.rendered import Clips


def objects_in(out: Path) -> list[dict[str, Any]]:
    """The object of each line."""
    return [json.loads(line) for line in out.read_bytes().split(b"\n") if line]


def faults(clips: Clips, out: Path) -> list[str]:
    """What isn't as it should be: every good clip answered once, every bad one with an error."""
    objects = objects_in(out)
    validator = jsonschema.Draft202012Validator(read_schema("batch"))
    found = [
        f"{known['video']}: {error.message}"
        for known in objects
        for error in validator.iter_errors(known)
    ]
    answered = Counter(_name(known) for known in objects if "answer" in known)
    failed = Counter(_name(known) for known in objects if "error" in known)
    found += [
        f"{name}: answered {answered[name]} times" for name in clips.good if answered[name] != 1
    ]
    found += [f"{name}: failed {failed[name]} times" for name in clips.bad if failed[name] != 1]
    found += [f"{name}: answered, and can't be" for name in clips.bad if answered[name]]
    found += [f"{name}: failed, and can be read" for name in clips.good if failed[name]]
    found += [f"{name}: not asked about" for name in {*answered, *failed} - clips.good - clips.bad]
    return found


def answers_in(out: Path) -> dict[str, str]:
    """Answers by the names of their clips."""
    return {_name(known): known["answer"] for known in objects_in(out) if "answer" in known}


def _name(known: dict[str, Any]) -> str:
    return os.path.basename(known["video"])
