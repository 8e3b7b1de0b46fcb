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
    broken = _broken(method, inputs, selection)
    if broken is not None:
        came, promised = broken
        code = plugins.version("method", method.name)
        origin = "" if code is None else f" ({code.rpartition(' ')[0]})"
        raise DycokeError(f"the method {method.name}{origin} returned {came}; promised: {promised}")


def check_indices(
    indices: Any, tokens: int, count: int, by: str, *, ascending: bool = True
) -> tuple[str, str] | None:
    """What indices are, and what was promised of them; None where the promise is kept.

    Args:
        indices: `[M]`, int64, each once, or any object.
    """
    if not torch.is_tensor(indices) or indices.dtype != torch.int64 or indices.ndim != 1:
        return _kind(indices), "indices [M], int64"
    if not len(indices):
        return (f"{0} indices", f"{count}, by {by}") if count else None
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= tokens:
        return f"the index {low if low < 0 else high}", f"indices from 0 to {tokens - 1}"
    ordered = indices if ascending else indices.sort().values
    behind = (ordered[1:] <= ordered[:-1]).nonzero()
    if len(behind):
        at = int(behind[0])
        pair = ordered[at : at + 2].tolist()
        return f"the index {pair[1]} behind {pair[0]}", "ascending indices, each once"
    if len(indices) != count:
        return f"{len(indices)} indices", f"{count}, by {by}"
    return None


def _broken(method: Method, inputs: SelectionInputs, selection: Any) -> tuple[str, str] | None:
    frames, per_frame, width = inputs.features.shape
    if not isinstance(selection, Selection):
        return f"{_kind(selection)} from choose", "a Selection"
    count, call = method.kept_tokens(frames, per_frame), f"kept_tokens({frames}, {per_frame})"
    if type(count) is not int:
        return f"{count!r} from {call}", "an int"
    tokens = frames * per_frame
    features, into = selection.features, selection.into
    # Merged tokens may be read in another order, for each has features of its own.
    broken = check_indices(selection.kept, tokens, count, call, ascending=features is None)
    if broken is not None:
        return broken
    if features is not None:
        if not torch.is_tensor(features) or features.shape != (count, width):
            return f"features that are {_kind(features)}", f"features [{count}, {width}]"
        lost = int((~features.isfinite()).any(-1).sum())
        if lost:
            return f"NaN or infinite features for {lost} of {count} tokens", "finite features"
    if into is not None and (not torch.is_tensor(into) or into.shape != (tokens,)):
        return f"`into` that is {_kind(into)}", f"`into` [{tokens}], int64"
    return None


def _kind(value: Any) -> str:
    """A value in words: the dtype and shape of a tensor, the type of anything else."""
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__} {[*value.shape]} of {value.dtype}"
