"""Validation of a model's files, which are untrusted, before a library reads them.

transformers follows any configuration: it would build a billion layers, compile an attention
function or download kernels. So each file is checked for type and size, and each JSON document for
depth, numbers, and values that would run code. Needs no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from dycoke_cli.errors import ModelError
from dycoke_cli.processes.isolated import Channel, Isolated, LateError, NonsenseError
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.input_file import LFS_POINTER, is_lfs_pointer, read_file
from dycoke_cli.storage.output_file import read_own

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
GENERATION = "generation_config.json"

_MIB = 1 << 20
# About twice the largest published ones: a tokenizer of 33 MB, an index of 9 MB, settings of
# 1.2 MB.
_MAX_BYTES = 64 * _MIB
_MAX_INDEX_BYTES = 16 * _MIB
_MAX_SETTINGS_BYTES = 4 * _MIB
_SETTINGS = (
    CONFIG,
    GENERATION,
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "adapter_config.json",
)
_TEMPLATES = "additional_chat_templates"
_SHARED = re.compile(r"[0-9a-f]{64}")

# Published configurations are 6 levels deep and have a few hundred values, quantized ones
# thousands.
_MAX_DEPTH = 32
_MAX_VALUES = 200_000
# Largest absolute value of a number, by the first of these that matches its key.
_MOST = (
    # They determine no size: rotary base, token ids, and a length that stands for "unlimited".
    (re.compile(r".*(theta|model_max_length|_id|seed)$"), 1e38),
    # Numbers of modules, or of entries that the stock class creates one by one.
    (re.compile(r".*(layers?|blocks?|depth|experts|stages|labels)$"), 1024),
    # Sides of a frame, and what it has of them: a text has as many placeholders.
    (
        re.compile(
            r"(height|width|.*(patch|merge|kernel)_size|num_frames|max_frames|"
            r"num_image_tokens|image_seq_len(gth)?)$"
        ),
        1 << 12,
    ),
    # Above the longest context, the largest vocabulary and the most pixels of published models.
    (re.compile(""), 1 << 27),
)

_ATTENTION = re.compile(r"_?(attn|experts)_implementation(_internal)?$")
_ATTENTIONS = ("eager", "sdpa", "grouped_mm", "batched_mm")
_FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
# Quantizers whose kernels are in a package that the user installs; others download them.
_QUANTIZERS = ("awq", "bitsandbytes", "compressed-tensors", "gptq")
_DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")
# Allowed values of generation_config.json, besides none and false: with any other value generate()
# doesn't return a single greedy or sampled sequence, which answers are parsed as.
_ONE_ANSWER: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "guidance_scale": (1,),
    "penalty_alpha": (0,),
    "prompt_lookup_num_tokens": (0,),
    "dola_layers": (),
    "constraints": (),
    "force_words_ids": (),
    "stop_strings": (),
    "watermarking_config": (),
    "assistant_early_exit": (),
    "speculation_type": (),
    "token_healing": (),
    "use_mtp": (),
}


class UnreadableError(ValueError):
    """Reason why a JSON file can't be read, phrased to follow the name of the file."""


def read_json(path: Path) -> Any:
    """Read a small JSON file."""
    try:
        _check_kind(path)
        content = json.loads(read_file(path, _MAX_BYTES))
    except RecursionError as error:
        raise UnreadableError("is nested deeper than any real one") from error
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(f"can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UnreadableError(f"isn't JSON ({brief(error)})") from error
    if path.name in _SETTINGS and not isinstance(content, dict):
        raise UnreadableError("isn't a JSON object")
    return content


def check_small_files(shown: str, folder: Path) -> None:
    """Check all files in a folder that loading reads except the weights."""
    for path in _read_files(folder):
        name = str(path.relative_to(folder))
        try:
            # A link could make an error message quote a private file.
            if not is_inside(path, folder):
                raise UnreadableError("is a link out of it; replace the link by the file")
            _check_kind(path)
            if is_lfs_pointer(path):
                raise UnreadableError(LFS_POINTER)
            if path.name in _SETTINGS:
                check_settings(name, read_json(path))
        except UnreadableError as error:
            raise ModelError(f"{shown} can't be loaded: its {name} {error}") from error


def check_settings(name: str, content: Mapping[str, Any]) -> None:
    """Check the values of a configuration."""
    for count, (key, value, depth) in enumerate(values_in(content)):
        if depth > _MAX_DEPTH:
            raise UnreadableError("is nested deeper than any real one")
        if count > _MAX_VALUES:
            raise UnreadableError("has more values than any real one")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            most = next(most for pattern, most in _MOST if pattern.match(key))
            # Negated, so that NaN fails, too. math.isnan would overflow for a huge integer.
            if not abs(value) <= most:
                raise UnreadableError(
                    f"says {brief(key)} = {brief(value)}, which no real model has"
                )
        if name == CONFIG:
            _check_code(key, value)
    if name == GENERATION:
        for key, allowed in _ONE_ANSWER.items():
            if (value := content.get(key)) not in (None, False, *allowed):
                raise UnreadableError(
                    f"asks for {key} {brief(value)}, which isn't supported; take that out"
                )


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is in the folder after following links.

    In the hub client's cache a snapshot is a folder of links to its repository's `blobs`. Blobs
    downloaded from Xet are links in turn, to a store shared by all repositories; its file names are
    SHA-256 digests.
    """
    root, place = folder.resolve(), file.resolve()
    if place.is_relative_to(root):
        return True
    if root.parent.name != "snapshots":
        return False
    repository = root.parents[1]
    shared = repository.parent / "blobs" / place.name[:2] / place.name
    return place.parent == repository / "blobs" or (
        place == shared and _SHARED.fullmatch(place.name) is not None
    )


def _read_files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / _TEMPLATES):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix in (".json", ".jinja", ".txt", ".model") and path.exists():
                yield path


def _check_kind(path: Path) -> None:
    """Check that a file is small and regular, because reading a pipe may never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("isn't a regular file; replace it by one")
    limit = _MAX_BYTES
    if path.name in _SETTINGS or path.suffix == ".jinja":
        limit = _MAX_SETTINGS_BYTES
    elif path.name.endswith(".index.json"):
        limit = _MAX_INDEX_BYTES
    if status.st_size > limit:
        raise UnreadableError(f"has {status.st_size / 1e6:.0f} MB, more than any real one")


def values_in(content: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield all values of a document with key and depth; items of a list have the list's key.

    Iterative, because a hostile document may be nested deeper than Python's recursion limit.
    """
    left: list[tuple[str, Any, int]] = [("", content, 0)]
    while left:
        key, value, depth = left.pop()
        yield key, value, depth
        if isinstance(value, dict):
            left += [(str(name), one, depth + 1) for name, one in value.items()]
        elif isinstance(value, list):
            left += [(key, one, depth + 1) for one in value]


def _check_code(key: str, value: Any) -> None:
    """Refuse values that would download or compile code, and dtypes that aren't one.

    transformers looks a dtype up as an attribute of torch, so any name of torch would be accepted.
    """
    if _ATTENTION.match(key):
        for named in value.values() if isinstance(value, dict) else [value]:
            package = _FLASH.get(str(named))
            there = package is not None and find_spec(package) is not None
            if named is not None and named not in _ATTENTIONS and not there:
                raise UnreadableError(
                    f"asks for {key} {brief(named)}, which is never run; take {key} out of it"
                )
    elif key in ("use_kernels", "kernel_config") and value:
        raise UnreadableError(f"asks for kernels from the hub, which are never run; take {key} out")
    elif key == "quantization_config" and value is not None:
        method = value.get("quant_method") if isinstance(value, dict) else value
        if isinstance(value, dict) and method is None and value.get("load_in_4bit"):
            return
        if method not in _QUANTIZERS:
            raise UnreadableError(
                f"says that its weights are quantized by {brief(method)}, which isn't supported "
                f"({', '.join(_QUANTIZERS)} are); use the model's whole weights"
            )
    elif key in ("dtype", "torch_dtype") and value is not None:
        for named in value.values() if isinstance(value, dict) else [value]:
            if str(named).removeprefix("torch.") not in _DTYPES:
                raise UnreadableError(
                    f"names the dtype {brief(named)}; it must be one of {', '.join(_DTYPES)}"
                )


def brief(value: Any) -> str:
    """Format a value of a document for a message: one line, at most 60 characters."""
    text = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# Weight files of a checkpoint: only safetensors inside its folder are accepted.
#
# `from_pretrained(use_safetensors=True)` only determines the name of the index or file. The index
# may list files of any format anywhere, and a pickle file would run code. So every reference to
# weights is checked before anything is loaded.


INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
READ_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Suffixes of the files that loading reads."""

_PROCESSOR = "processor_config.json"
# Files that make transformers load additional weights, of any format and from any place.
_ADAPTER = "adapter_config.json"
_AUDIO_TOKENIZER = "audio_tokenizer_config.json"
_LONGEST_NAME = 200
_HAS_ADAPTER = (
    f"{{}} has an adapter ({_ADAPTER}), which isn't supported; merge it into its base model and "
    "give that"
)
NOT_GGUF = (
    "whose format is that of llama.cpp, which isn't read; give the model in transformers' format "
    "(config.json and safetensors)"
)
"""Rest of a sentence about such a file."""


def check_folder(folder: Path) -> None:
    """Check that a folder contains a complete model with safetensors weights."""
    shown = f"the folder {str(folder)!r}"
    if not (folder / CONFIG).is_file():
        raise ModelError(_no_model(shown, folder))
    check_small_files(shown, folder)
    names = weight_files(shown, folder)
    missing = [name for name in names if not (folder / name).exists()]
    if missing == [WHOLE]:
        raise ModelError(_no_model(shown, folder))
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{shown} lacks the weight file {missing[0]}{others}; download it again")
    check_weights(shown, folder, names)


def check_weights(shown: str, folder: Path, names: Sequence[str]) -> None:
    """Check that weights are regular files of their folder."""
    for file in (folder / name for name in names):
        if not file.is_file():
            raise ModelError(f"{file.name} in {shown} isn't a regular file; replace it by one")
        if not is_inside(file, folder):
            raise ModelError(
                f"{shown} has a weight file that is a link out of it, {file.name}; replace the "
                "link by the file"
            )
        if is_lfs_pointer(file):
            raise ModelError(f"{shown} can't be loaded: its {file.name} {LFS_POINTER}")


def _no_model(shown: str, folder: Path) -> str:
    """Why a folder without a configuration, or without weights that are loaded, isn't a model."""
    if (folder / _ADAPTER).is_file():
        return _HAS_ADAPTER.format(shown)
    if found := next(folder.glob("*.gguf"), None):
        return f"{shown} has {found.name}, {NOT_GGUF}"
    if snapshots := sorted(folder.glob(f"snapshots/*/{CONFIG}")):
        place = snapshots[-1].parent
        return f"{shown} is a model of the hub's cache; its files are in the folder {str(place)!r}"
    if not (folder / CONFIG).is_file():
        return (
            f"{shown} has no {CONFIG}, so it isn't a model: name the folder that config.json is "
            "in, or one of `dycoke models`"
        )
    if any(folder.glob("*.safetensors")):
        return f"{shown} has weight files, but neither {WHOLE} nor their list, {INDEX}"
    return (
        f"{shown} has no weights as safetensors (*.safetensors), the only format that is loaded; "
        "convert them"
    )


def weight_files(shown: str, folder: Path) -> list[str]:
    """Names of the weight files that `from_pretrained` loads, there or not: safetensors alone.

    Args:
        folder: has all files of the model but, maybe, its weights.

    Raises:
        ModelError: a file refers to weights of another format, or elsewhere.
    """
    if (folder / _ADAPTER).exists():
        raise ModelError(_HAS_ADAPTER.format(shown))
    processor = folder / _PROCESSOR
    if (folder / _AUDIO_TOKENIZER).exists() or (
        processor.exists() and "audio_tokenizer" in read_json(processor)
    ):
        raise ModelError(f"{shown} needs an audio tokenizer, which isn't supported")
    named = read_json(folder / CONFIG).get("transformers_weights")
    if named is None and not (folder / INDEX).exists():
        return [WHOLE]
    index = INDEX if named is None else _checked(shown, CONFIG, named)
    if not index.endswith(".index.json"):
        return [index]
    try:
        files = {str(name) for name in read_json(folder / index)["weight_map"].values()}
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{shown} has an index of its weights, {index}, that can't be read; download it again"
        ) from error
    names = [_checked(shown, index, name) for name in sorted(files)]
    # transformers prefers the whole file to an index.
    whole = not names or (named is None and (folder / WHOLE).exists())
    return [WHOLE] if whole else names


def is_complete(folder: Path) -> bool:
    """Whether a folder has the configuration and all weights of a model."""
    try:
        return all((folder / name).exists() for name in weight_files(str(folder), folder))
    except (ModelError, UnreadableError):
        return False


def _checked(shown: str, where: str, name: Any) -> str:
    path = PurePosixPath(str(name))
    inside = not path.is_absolute() and ".." not in path.parts
    plain = len(str(name)) <= _LONGEST_NAME and str(name).isprintable()
    stored = str(name).endswith((".safetensors", ".safetensors.index.json"))
    if not (inside and plain and stored) or any(sign in str(name) for sign in "\\:"):
        raise ModelError(
            f"{shown} has a {where} that names {brief(str(name))} as weights; only safetensors in "
            "its folder are loaded"
        )
    return str(name)


# Trial of an untrusted tokenizer in a separate process, before it is loaded.
#
# Its regular expressions and replacements run in a Rust library. Python can't interrupt it, and it
# aborts the process if memory runs out. Tokenizers that passed are cached by their hash, so the
# trial costs a second once.


# A tokenizer of 33 MB, one of the largest published, takes 2 s and 400 MB.
_CPU_S = 8
_DEADLINE_S = 120
_BYTES, _BYTES_PER_BYTE = 512 << 20, 32
# Lists and objects in tokenizer.json. A vocabulary of 262,144 tokens has half a million, most of
# them merge pairs.
_MAX_PARTS = 4_000_000
PROCESS = f"{__name__}:serve"
PREPARE = f"{__name__}:prepare"


def check_tokenizer(name: str, file: Path) -> None:
    """Check that a tokenizer neither crashes nor exceeds the limits of time and memory."""
    if not file.is_file():
        return
    content = read_file(file)
    digest = hashlib.sha256(content).hexdigest()
    # By release as well: a tokenizer that one release reads may crash another.
    version = importlib.metadata.version("tokenizers")
    passed = kept("tokenizers") / f"{digest}-{version}"
    with suppress(OSError, ValueError):  # another user must not mark it as passed
        read_own(passed)
        return
    # transformers parses the file in this process, where a list or object takes at least 20 times
    # its bytes.
    if content.count(b"[") + content.count(b"{") > _MAX_PARTS:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} has more parts than any real one"
        )
    process = Isolated(PROCESS, PREPARE)
    try:
        process.await_ready()
        process.limit(memory_bytes=_BYTES + _BYTES_PER_BYTE * len(content), cpu_s=_CPU_S)
        with process.within(_DEADLINE_S):
            process.send({"tokenizer": content.decode("utf-8", "replace")})
            process.receive()
    except (GoneError, LateError, NonsenseError) as error:
        raise ModelError(
            f"{name} can't be loaded: its {file.name} crashes the library that reads it, or takes "
            "more time or memory than any real one; download it again"
        ) from error
    finally:
        process.stop()
    with suppress(OSError):
        write_whole(passed, "")


def prepare() -> None:
    """Load the library; runs once in the zygote."""
    import tokenizers  # noqa: F401


def serve(channel: Channel) -> None:
    """In the trial's process: encode the hardest texts with a tokenizer."""
    from tokenizers import Tokenizer

    channel.send({})
    given, _ = channel.receive()
    with suppress(Exception):  # which is harmless, and loading the tokenizer reports it
        tokenizer = Tokenizer.from_str(given["tokenizer"])
        for text in _texts():
            tokenizer.encode(text)
    channel.send({})


def _texts() -> list[str]:
    """Long runs, which make a regular expression backtrack, and every character of the BMP."""
    runs = ["a", "Z", "7", " ", "\n", ".", "é", "語", "ab ", "What is it? ", "a1", "'s", "3.14 "]
    letters = "".join(map(chr, [*range(32, 0xD800), *range(0xE000, 0x10000)]))
    return [*(run * 200 + end for run in runs for end in ("", "!", "0")), letters]
