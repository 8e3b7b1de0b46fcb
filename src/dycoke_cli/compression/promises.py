"""What a method promises of its selection.

Tests check bundled methods; the class of a plug-in is checked at its first selection.
"""

from __future__ import annotations

from typing import Any

from dycoke_cli import plugins
from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.errors import DycokeError
from dycoke_cli.lazy_torch import torch

_PACKAGE = f"{__name__.partition('.')[0]}."
_checked: set[type[Method]] = set()


def selected(method: Method, inputs: SelectionInputs) -> Selection:
    """The tokens that the language model gets by a method; dropped ones merged if it asks so."""
    selection = method.choose(inputs)
    kind = type(method)
    if not kind.__module__.startswith(_PACKAGE) and kind not in _checked:
        check_selection(method, inputs, selection)
        _checked.add(kind)
    return method.finish(inputs, selection)


def check_selection(method: Method, inputs: SelectionInputs, selection: Any) -> None:
    """Check a selection against what `Selection` and `kept_tokens` promise of it."""
    code = plugins.version("method", method.name)
    name = method.name if code is None else f"{method.name} ({code.rpartition(' ')[0]})"
    frames, per_frame, width = inputs.features.shape
    count, call = method.kept_tokens(frames, per_frame), f"kept_tokens({frames}, {per_frame})"
    if type(count) is not int or not isinstance(selection, Selection):
        raise DycokeError(
            f"the method {name} returned {_kind(selection)} from choose and {count!r} from {call}; "
            "promised: a Selection and an int"
        )
    tokens, features, into = frames * per_frame, selection.features, selection.into
    # Merged tokens may be read in another order, for each has features of its own.
    is_merged = features is not None and torch.is_tensor(selection.kept)
    kept = selection.kept.sort().values if is_merged else selection.kept
    if torch.is_tensor(kept) and kept.dtype == torch.int64 and kept.shape == (count,):
        ends = kept.new_tensor([-1]), kept.new_tensor([tokens])
        is_right = bool((torch.cat([ends[0], kept, ends[1]]).diff() > 0).all())
    else:
        is_right = False
    if not is_right:
        shown = f": {kept.tolist()[:8]} …" if torch.is_tensor(kept) else ""
        raise DycokeError(
            f"the method {name} returned {_kind(kept)}{shown}; promised, by {call}: {count} "
            f"ascending indices from 0 to {tokens - 1}, int64, each once"
        )
    for made, shape in ((features, (count, width)), (into, (tokens,))):
        whole = torch.is_tensor(made) and made.shape == shape and made.isfinite().all()
        if made is not None and not whole:
            raise DycokeError(
                f"the method {name} returned features or `into` that are {_kind(made)}; promised: "
                f"{[*shape]}, without NaN or infinity"
            )


def _kind(value: Any) -> str:
    """A value in words: the dtype and shape of a tensor, the type of anything else."""
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__} {[*value.shape]} of {value.dtype}"
