"""Model folders that strangers could hand out: the bundled one, with one thing made hostile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT

Spoil = Callable[[Path], None]
CONFIG, GENERATION = "config.json", "generation_config.json"
PROCESSOR, TOKENIZER = "processor_config.json", "tokenizer.json"
SETTINGS, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
INDEX = "model.safetensors.index.json"
WROTE = "it_ran"
_TURNS = "{% for m in messages %}{% for p in m.content %}<video>{% endfor %}{% endfor %}"


def copy_of_bundled(folder: Path) -> Path:
    """A copy that shares the weights, which are 18 MB."""
    folder.mkdir()
    for file in BUNDLED_CHECKPOINT.iterdir():
        (os.link if file.suffix == ".safetensors" else shutil.copy)(file, folder / file.name)
    return folder


def says(file: str, path: str = "", **values: Any) -> Spoil:
    """A JSON file with other values, at a place such as "text_config" or "video_processor.size"."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        place = content
        for name in path.split(".") if path else ():
            place = place.setdefault(name, {})
        place.update(values)
        (folder / file).write_text(json.dumps(content))

    return spoil


def holds(file: str, text: str | bytes) -> Spoil:
    """A file with other content."""

    def spoil(folder: Path) -> None:
        (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


def splits_by(pattern: str) -> Spoil:
    """A tokenizer that splits text by a regular expression."""
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return says(TOKENIZER, pre_tokenizer=part)


def normalizes_by(*parts: Mapping[str, Any]) -> Spoil:
    """A tokenizer that changes text first."""
    return says(TOKENIZER, normalizer={"type": "Sequence", "normalizers": list(parts)})


def _pipe(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def _sparse(name: str, size: int, folder: Path) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(size)


def _link(name: str, target: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)


def _is_folder(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()


def _template_pipe(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    os.mkfifo(folder / "additional_chat_templates" / "default.jinja")


def _code(folder: Path) -> None:
    """Code beside the model, which each of its files asks for."""
    (folder / "mine.py").write_text(f"open({str(folder / WROTE)!r}, 'w')\nclass Mine: pass\n")
    names = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer")
    for file in (CONFIG, PROCESSOR, SETTINGS):
        says(file, auto_map=dict.fromkeys(names, "mine.Mine"))(folder)
    says(CONFIG, model_type="mine")(folder)


def _custom_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(
        f"open({str(folder / WROTE)!r}, 'w')\ndef generate(model, **k): return model\n"
    )
    says(GENERATION, num_beams=4)(folder)


def _index(weights: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / INDEX).write_text(json.dumps({"weight_map": weights}))

    return spoil


_REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
_NESTED = "".join(f"{{% for {x} in range(99999) %}}" for x in "abcdefgh")
_NESTED += "{% endfor %}" * 8

CONFIGS: dict[str, Spoil] = {
    "deep": holds(CONFIG, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "deep-list": holds(CONFIG, '{"a":' + "[" * 500 + "]" * 500 + "}"),
    "gigabyte": partial(_sparse, CONFIG, 1 << 30),
    "pipe": partial(_pipe, CONFIG),
    "folder": partial(_is_folder, CONFIG),
    "link-out": partial(_link, CONFIG, "/etc/hostname"),
    "endless": partial(_link, CONFIG, "/dev/zero"),
    "list": holds(CONFIG, "[]"),
    "not-json": holds(CONFIG, "{"),
    "not-utf8": holds(CONFIG, b'{"a": "\xff"}'),
    "long-number": holds(CONFIG, '{"a": ' + "9" * 10_000 + "}"),
    "wide": holds(CONFIG, '{"a": [' + "0," * 1_000_000 + "0]}"),
    "nan": says(CONFIG, "text_config", rms_norm_eps=float("nan")),
    "infinity": says(CONFIG, "text_config", hidden_size=float("inf")),
    "model-type-list": says(CONFIG, model_type=["llava_onevision"]),
    "hidden": says(CONFIG, "text_config", hidden_size=10**9),
    "hidden-zero": says(CONFIG, "text_config", hidden_size=0),
    "layers": says(CONFIG, "text_config", num_hidden_layers=10**7),
    "layers-thousand": says(CONFIG, "text_config", num_hidden_layers=1000, layer_types=None),
    "vision-layers": says(CONFIG, "vision_config", num_hidden_layers=10**7),
    "vocabulary": says(CONFIG, "text_config", vocab_size=10**12),
    "labels": says(CONFIG, num_labels=10**7),
    "image-size": says(CONFIG, "vision_config", image_size=10**6),
    "patch-zero": says(CONFIG, "vision_config", patch_size=0),
    "positions": says(CONFIG, "text_config", max_position_embeddings=10**12),
    "feature-layer": says(CONFIG, vision_feature_layer=10**6),
    "feature-layer-near": says(CONFIG, vision_feature_layer=99),
    "video-token": says(CONFIG, video_token_index=10**6),
    "video-token-text": says(CONFIG, video_token_index="<video>"),
    "activation": says(CONFIG, "text_config", hidden_act="os.system"),
    "text-config-text": says(CONFIG, text_config="qwen2"),
    "method-name": says(CONFIG, get_text_config=5),
    "flex": says(CONFIG, attn_implementation="flex_attention"),
    "flex-inner": says(CONFIG, "text_config", _attn_implementation="flex_attention"),
    "flex-internal": says(CONFIG, "vision_config", _attn_implementation_internal="flex_attention"),
    "flex-parts": says(CONFIG, attn_implementation={"text_config": "flex_attention"}),
    "kernel": says(CONFIG, attn_implementation="kernels-community/flash-attn"),
    "kernel-inner": says(CONFIG, "text_config", attn_implementation="hub:x/y@main:run"),
    "experts": says(CONFIG, "text_config", experts_implementation="sonicmoe"),
    "use-kernels": says(CONFIG, use_kernels=True),
    "kernel-config": says(CONFIG, kernel_config={"kernel_mapping": {"RMSNorm": "x/y"}}),
    "dtype-odd": says(CONFIG, dtype="load"),
    "dtype-old": says(CONFIG, "text_config", torch_dtype="hub"),
    "dtype-number": says(CONFIG, dtype=16),
    "code": _code,
    **{
        f"quantized-{method}": says(CONFIG, quantization_config={"quant_method": method})
        for method in ("mxfp4", "fp8", "torchao", "quanto", "hqq", "eetq", "frodo", "bitnet")
    },
    "quantized-text": says(CONFIG, quantization_config="awq"),
    "quantized-inner": says(CONFIG, "text_config", quantization_config={"quant_method": "metal"}),
    "own-defaults": says(CONFIG, dycoke={"prune_layer": 10**6}),
}

GENERATIONS: dict[str, Spoil] = {
    "beams": says(GENERATION, num_beams=10**9),
    "beams-four": says(GENERATION, num_beams=4),
    "sequences": says(GENERATION, num_return_sequences=10**6),
    "contrastive": says(GENERATION, penalty_alpha=0.6, top_k=4),
    "custom": _custom_generate,
    "stop-strings": says(GENERATION, stop_strings=["a" * 10_000]),
    "end-text": says(GENERATION, eos_token_id="</s>"),
    "end-far": says(GENERATION, eos_token_id=10**12),
    "penalty": says(GENERATION, repetition_penalty=-1.0),
    "suppressed": says(GENERATION, suppress_tokens=[10**9]),
    "deep": holds(GENERATION, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "gigabyte": partial(_sparse, GENERATION, 1 << 30),
    "list": holds(GENERATION, "[]"),
}

PROCESSORS: dict[str, Spoil] = {
    "mean-short": says(PROCESSOR, "video_processor", image_mean=[0.5]),
    "size-huge": says(PROCESSOR, "video_processor", size={"height": 10**6, "width": 10**6}),
    "size-large": says(PROCESSOR, "video_processor", size={"height": 16_000, "width": 16_000}),
    "size-text": says(PROCESSOR, "video_processor", size="large"),
    "tokens": says(PROCESSOR, num_image_tokens=10**12),
    "tokens-of-a-frame": says(PROCESSOR, num_image_tokens=10**6),
    "class-unknown": says(PROCESSOR, processor_class="FrodoProcessor"),
    "class-other": says(PROCESSOR, processor_class="WhisperProcessor"),
    "video-class": says(PROCESSOR, "video_processor", video_processor_type="os.system"),
    "deep": holds(PROCESSOR, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "gigabyte": partial(_sparse, PROCESSOR, 1 << 30),
    "pipe": partial(_pipe, PROCESSOR),
    "token-missing": says(PROCESSOR, video_token="<nothing>"),
    "token-empty": says(PROCESSOR, video_token=""),
}

TEMPLATES: dict[str, Spoil] = {
    "ranges": holds(TEMPLATE, _NESTED),
    "grows": holds(
        TEMPLATE,
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}"
        "{% endfor %}{{ n.s }}",
    ),
    "output": holds(TEMPLATE, "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}"),
    "wide": holds(TEMPLATE, "{{ '%999999999d' % 1 }}"),
    "power": holds(TEMPLATE, "{{ 9 ** 9 ** 9 ** 9 }}"),
    "urls": holds(TEMPLATE, "{{ ('(' * 9999 * 99) | urlize }}"),
    "macro": holds(
        TEMPLATE, "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"
    ),
    "deep": holds(TEMPLATE, "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000),
    "raises": holds(TEMPLATE, "{{ raise_exception('no\nyou\x1b[2J') }}"),
    "escapes": holds(
        TEMPLATE,
        "{{ ''.__class__.__mro__[1].__subclasses__() }}" + _TURNS,
    ),
    "escapes-by-globals": holds(
        TEMPLATE, "{{ raise_exception.__globals__['os'].system('touch it_ran') }}" + _TURNS
    ),
    "escapes-by-attr": holds(TEMPLATE, "{{ (messages | attr('__class__')).mro() }}" + _TURNS),
    "escapes-by-format": holds(TEMPLATE, "{{ '{0.__class__.__init__}'.format(messages) }}"),
    "includes": holds(TEMPLATE, "{% include '/etc/passwd' %}"),
    "shows-nothing": holds(TEMPLATE, "hello"),
    "megabytes": holds(TEMPLATE, "a" * 3_000_000),
    "gigabyte": partial(_sparse, TEMPLATE, 1 << 30),
    "pipe": partial(_pipe, TEMPLATE),
    "pipe-beside": _template_pipe,
    "conditional": holds(
        TEMPLATE,
        (BUNDLED_CHECKPOINT / TEMPLATE).read_text()
        + "{% if 'blue' in messages[0].content[1].text %}"
        + _NESTED
        + "{% endif %}",
    ),
}


def pads_to(length: int) -> dict[str, Any]:
    return {
        "strategy": {"Fixed": length},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }


TOKENIZERS: dict[str, Spoil] = {
    "expression": splits_by("([a-z ?]+)+[0-9]{9}"),
    "grows": normalizes_by(*[_REPLACE] * 60),
    "grows-by-a-rare-letter": normalizes_by(
        *[{"type": "Replace", "pattern": {"String": "Ж"}, "content": "ЖЖ"}] * 60
    ),
    "prepends": normalizes_by(*[{"type": "Prepend", "prepend": "a" * 100_000}] * 100),
    "charsmap": normalizes_by({"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA"}),
    "expression-deep": splits_by("(" * 5_000 + "a" + ")" * 5_000),
    "padding": says(TOKENIZER, padding=pads_to(10**12)),
    "padding-large": says(TOKENIZER, padding=pads_to(10**9)),
    "deep": holds(TOKENIZER, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "wide": holds(TOKENIZER, '{"added_tokens":[' + "{}," * 5_000_000 + "{}]}"),
    "model-kind": says(TOKENIZER, "model", type="Frodo"),
    "ids": says(TOKENIZER, "model", vocab={"a": 2**40}),
    "gigabyte": partial(_sparse, TOKENIZER, 1 << 30),
    "pipe": partial(_pipe, TOKENIZER),
    "class": says(SETTINGS, tokenizer_class="os.system"),
    "special-deep": holds("special_tokens_map.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
    "length": says(SETTINGS, model_max_length=-1e300),
}

WEIGHTS: dict[str, Spoil] = {
    "outside": _index({"a": "../../x.safetensors"}),
    "absolute": _index({"a": "/etc/passwd.safetensors"}),
    "pickled": _index({"a": "x.bin"}),
    "long-name": _index({"a": "x" * 300 + ".safetensors"}),
    "zero-byte": _index({"a": "x\0.safetensors"}),
    "number": _index({"a": 5}),
    "list": _index(["a"]),
    "deep": holds(INDEX, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "gigabyte": partial(_sparse, INDEX, 1 << 30),
    "pipe": partial(_pipe, "model.safetensors"),
    "link-out": partial(_link, "model.safetensors", "/etc/hostname"),
    "endless": partial(_link, "model.safetensors", "/dev/zero"),
    "adapter": holds("adapter_config.json", '{"base_model_name_or_path": "../../x"}'),
    "adapter-deep": holds("adapter_config.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
}
FOLDERS: dict[str, Spoil] = {
    f"{kind}-{name}": spoil
    for kind, spoils in (
        ("config", CONFIGS),
        ("generation", GENERATIONS),
        ("processor", PROCESSORS),
        ("template", TEMPLATES),
        ("tokenizer", TOKENIZERS),
        ("weights", WEIGHTS),
    )
    for name, spoil in spoils.items()
}
