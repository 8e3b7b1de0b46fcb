"""A request's model before it is loaded: what its files tell, and what is refused by that.

Without torch, whose import takes seconds, and before a video is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.context import answer_room, check_context, check_several, room_for_video
from dycoke_cli.engine.settling import settled
from dycoke_cli.models.catalog import ModelRef, find, published
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.files.hub import is_here, model_folder, stored_config
from dycoke_cli.request import Request

if TYPE_CHECKING:
    from dycoke_cli.models.catalog import ClipTokens
    from dycoke_cli.video.clip import FramePlan


@dataclass(frozen=True)
class UnloadedModel:
    """Model of a request before it is loaded, as far as its files tell."""

    source: str | ModelRef  # reference to its files; with random weights its name
    local: bool  # whether nothing has to be downloaded
    info: ModelInfo | None  # what its configuration says, if that is on this machine

    @property
    def listed(self) -> ModelInfo | None:
        """The same where a method can be settled by it, before the model is loaded."""
        return self.info if self.info is not None and self.info.listed else None

    def check(self, request: Request, videos: int) -> None:
        """Refuse a request that the model doesn't support."""
        info = self.listed
        if info is None:
            return
        if videos > 1:
            check_several(request.model, info.family, info.domain)
        settled(request.method, info)

    def check_plan(self, plan: FramePlan, method: Method, max_tokens: int) -> None:
        """Refuse frames that can't fit into the model's context, before they are decoded.

        Only what is certain without the model counts: the visual tokens of its catalog entry.
        Whether the whole prompt fits is checked once the model is loaded.
        """
        known = self._tokens_of(plan)
        if known is not None and self.listed is not None:
            context, count, clip = known
            method = settled(method, self.listed)
            new = answer_room(context, max_tokens, context)
            check_context(context, clip, count, method, clip.text, new)

    def check_room(self, plan: FramePlan, max_tokens: int) -> None:
        """Refuse windows of a video for which an answer leaves no room, before they are decoded.

        Args: as of `check_plan`.
        """
        known = self._tokens_of(plan)
        if known is not None:
            context, _, clip = known
            room_for_video(context, clip.text, answer_room(context, max_tokens, context))

    def _tokens_of(self, plan: FramePlan) -> tuple[int, int, ClipTokens] | None:
        """The context, the frames of a plan and their tokens; None where they aren't known."""
        entry = self.source.entry if isinstance(self.source, ModelRef) else None
        context = self.info and self.info.context
        # At a variable rate, two wanted times may be those of one frame, which is read once.
        if entry is None or not context or plan.info.variable_rate:
            return None
        count = min(len(plan.times_s), plan.info.frame_count or len(plan.times_s))
        clip = entry.clip_tokens(count, plan.height, plan.width)
        return None if clip is None else (context, count, clip)


def unloaded_model(request: Request, warn: Callable[[str], None]) -> UnloadedModel:
    """Find a request's model and read its configuration, without torch."""
    source: str | ModelRef = request.model
    info: ModelInfo | None
    if request.loading.random_weights:
        local, info = True, ModelInfo.of(published(request.model).config, request.model)
    else:
        source = find(request.model)
        local = source.local or is_here(source)
        if not local:
            model_folder(source, request.loading.revision)  # an error comes before a video is read
            nbytes = source.entry and source.entry.download_bytes
            what = f"{nbytes / 1e9:.1f} GB are" if nbytes else "it is"
            warn(
                f"{source.name} isn't on this machine yet: {what} downloaded first "
                f"(`dycoke models pull {source.name}` does so ahead of time)"
            )
        info = stored_config(source)
    return UnloadedModel(source, local, info)
