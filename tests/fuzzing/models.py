"""Folders of models: a file of one is broken, and the model is loaded and given a question."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from random import Random

from tests.fuzzing.mutators import bytes_of, json_of, text_of
from tests.fuzzing.subject import Subject

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_SHARD = "model-00001-of-00001.safetensors"
TEMPLATES = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}"
    "{% if part.type == 'video' %}<video>{% else %}{{ part.text }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    "{%- set ns = namespace(text='') -%}\n{%- for n in range(messages | length) -%}\n"
    "{%- set ns.text = ns.text ~ messages[n]['role'] | upper -%}\n{%- endfor -%}\n"
    "{{ ns.text }}{% macro one(x) %}{{ x }}{% endmacro %}{{ one('<video>') }}",
    "{% for i in range(1000000) %}{% for j in range(1000000) %}<video>{% endfor %}{% endfor %}",
    "{% set ns = namespace(t='<video>') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}"
    "{% endfor %}{{ ns.t }}",
    "{{ raise_exception('no') }}{{ messages[9].content[0].text }}{{ 2 ** 99999999 }}",
    "{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__ }}{{ self }}{{ 'x' * 10**10 }}",
)


@cache
def _folder() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A tiny model of stock classes in a folder, which goes when this process ends."""
    import torch

    from tests.families.tiny import make

    place = tempfile.TemporaryDirectory(prefix="dycoke-fuzz-model-")
    model, processor = make("llava_onevision", torch.float32)
    model.save_pretrained(place.name)
    processor.save_pretrained(place.name)
    return place, Path(place.name)


def _stored(name: str) -> list[bytes]:
    """A file of it, as it was stored; of its weights as one file, their index."""
    folder = _folder()[1]
    if name == INDEX:
        from safetensors import safe_open

        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shards = dict.fromkeys(file.keys(), _SHARD)
        return [json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}).encode()]
    if name == "chat_template.jinja":
        return [(folder / name).read_bytes(), *(one.encode() for one in TEMPLATES)]
    return [(folder / name).read_bytes()]


def _header(rng: Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Changes of what stands before the weights: its length, or a value of it."""
    size = int.from_bytes(seed[:8], "little")
    if rng.random() < 0.4:
        return bytes_of(rng, seed[: 8 + size], seeds) + seed[8 + size :]
    header = json_of(rng, seed[8 : 8 + size], seeds)
    length = len(header) if rng.random() < 0.9 else rng.choice((0, size, 2**31, 2**63))
    return length.to_bytes(8, "little") + header + seed[8 + size :]


def _ask(name: str, content: bytes, folder: Path) -> object:
    from dycoke_cli import Uncompressed, VideoSession, load
    from dycoke_cli.models.prompts.stock_processor import ShownFrames

    sound = _folder()[1]
    for path in sound.iterdir():
        as_shard = name == INDEX and path.name == WEIGHTS
        os.link(path, folder / (_SHARD if as_shard else path.name))
    (folder / name).unlink(missing_ok=True)  # a link to the sound one
    (folder / name).write_bytes(content)
    loaded = load(str(folder), device="cpu", kernels="stock")
    session = VideoSession(loaded, ShownFrames.blank(2, 16, 16))
    return session.ask("What happens?", Uncompressed(), max_tokens=2).answer


_MODULES = ("dycoke_cli.models.load", "dycoke_cli.engine.session", "tests.families.tiny")

SUBJECTS = [
    Subject(
        title, "models", cases, _MODULES, partial(_stored, name), mutate,
        partial(_ask, name),
    )
    for title, name, cases, mutate in (
        ("configuration", "config.json", 1500, json_of),
        ("index of weights", INDEX, 750, json_of),
        ("safetensors, header", WEIGHTS, 1000, _header),
        ("processor", "processor_config.json", 500, json_of),
        ("tokenizer", "tokenizer.json", 500, json_of),
        ("chat template", "chat_template.jinja", 1000, text_of),
    )
]  # fmt: skip
