"""A request's model before it is loaded: what its files tell, and what is refused by that.

Without torch, whose import takes seconds, and before a video is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.context import check_context, check_several, room_for_video
from dycoke_cli.models.catalog import published
from dycoke_cli.models.files.hub import first_download
from dycoke_cli.models.files.on_disk import StoredConfig, is_here, stored_config
from dycoke_cli.models.reference import ModelRef, find
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.prompts.frame_tokens import ClipTokens
    from dycoke_cli.video import Plan


@dataclass(frozen=True)
class UnloadedModel:
    """Model of a request before it is loaded, as far as its files tell.

    Args:
        source: reference to its files; with random weights its name.
        local: whether nothing has to be downloaded.
        stored: its configuration, if that is on this machine.
        traits: traits that a method is bound by; None if they are known only once it is loaded.
        method: the request's method bound by them, or None.
    """

    source: str | ModelRef
    local: bool
    stored: StoredConfig | None
    traits: ModelTraits | None
    method: BoundMethod | None = None


def unloaded_model(request: Request, warn: Callable[[str], None]) -> UnloadedModel:
    """Find a request's model and read its configuration, without torch.

    Args:
        request: names it.
        warn: called if it has to be downloaded.

    Raises:
        ModelError: there is no such model, or it has to be downloaded and the hub can't be reached.
        OutputError: it has to be downloaded, and the disk has no room for it.
    """
    source: str | ModelRef = request.model
    stored: StoredConfig | None
    if request.loading.random_weights:
        local, stored = True, StoredConfig(published(request.model).config)
    else:
        source = find(request.model)
        local = source.local or is_here(source)
        if not local:
            planned = first_download(source)
            gigabytes = f"{planned.missing_bytes / 1e9:.1f} GB"
            warn(
                f"{source.name} isn't on this machine yet: {gigabytes} are downloaded first "
                f"(`dycoke models pull {source.name}` does so ahead of time)"
            )
        stored = stored_config(source)
    traits = None if stored is None else stored.traits(request.model)
    return UnloadedModel(source, local, stored, traits if traits and traits.listed else None)


def check_request(request: Request, videos: int, listener: Listener) -> UnloadedModel:
    """Refuse a request that the model doesn't support, before it is loaded.

    Args:
        request: names the model and the options.
        videos: number of videos that are shown together.
        listener: receives a warning if the model has to be downloaded.

    Returns:
        The model, with the request's method bound to it if its configuration is known.
    """
    unloaded = unloaded_model(request, listener.warning)
    if unloaded.traits is None:
        return unloaded
    if videos > 1 and unloaded.stored is not None:
        check_several(request.model, unloaded.traits.family, unloaded.stored.domain)
    return replace(unloaded, method=bind(request.method, unloaded.traits))


def check_plan(
    unloaded: UnloadedModel, plan: Plan, method: BoundMethod | None, max_new_tokens: int
) -> None:
    """Refuse frames that can't fit into the model's context, before they are decoded.

    Only what is certain without the model counts: the visual tokens of its catalog entry. Whether
    the whole prompt fits is checked once the model is loaded.

    Args:
        unloaded: the model.
        plan: frames of one video.
        method: bound to the model; None for that of the model's request.
        max_new_tokens: of the answer.

    Raises:
        UsageError: they can't fit; with the flags that help.
    """
    method, known = method or unloaded.method, _tokens_of(unloaded, plan)
    if known is not None and method is not None:
        context, count, clip = known
        check_context(context, clip, count, method, clip.text, max_new_tokens)


def check_room(unloaded: UnloadedModel, plan: Plan, max_new_tokens: int) -> None:
    """Refuse windows of a video for which an answer leaves no room, before they are decoded.

    Only what is certain counts, as in `check_plan`.

    Args: as of `check_plan`.

    Raises:
        UsageError: there is no room; with what could be set.
    """
    known = _tokens_of(unloaded, plan)
    if known is not None:
        context, _, clip = known
        room_for_video(context, clip.text, max_new_tokens)


def _tokens_of(unloaded: UnloadedModel, plan: Plan) -> tuple[int, int, ClipTokens] | None:
    """A model's context, the frames of a plan and their tokens; None where they aren't known."""
    entry = unloaded.source.entry if isinstance(unloaded.source, ModelRef) else None
    context = unloaded.stored and unloaded.stored.text.get("max_position_embeddings")
    # At a variable rate, two wanted times may be those of one frame, which is read once.
    if entry is None or not context or plan.info.variable_rate:
        return None
    count = min(len(plan.times_s), plan.info.frame_count or len(plan.times_s))
    clip = entry.clip_tokens(count, plan.height, plan.width)
    return None if clip is None else (context, count, clip)


def bind_loaded(
    loaded: LoadedModel,
    method: Method,
    unloaded: UnloadedModel | None,
    *,
    in_windows: bool = False,
) -> BoundMethod:
    """Bind a method to a loaded model.

    Args:
        loaded: the model.
        method: as the user gave it.
        unloaded: the model as it was known before loading. Its bound method is used, unless the
            loaded files differ (another revision, a newer configuration).
        in_windows: whether it selects from several windows; see `ModelTraits.in_windows`.
    """
    traits = loaded.traits
    if in_windows:
        return bind(method, traits.in_windows)
    if unloaded is not None and unloaded.method is not None and unloaded.traits == traits:
        return bind(unloaded.method, traits)
    return bind(method, traits)
