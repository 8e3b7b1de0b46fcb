"""What stock `generate()` is given about a video, pixels and all, whatever the layout.

The stock processor writes video and question together, anew for each question: of a family that the
table doesn't know, nothing says which of its inputs depend on which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycoke_cli.errors import DycokeError, ModelError
from dycoke_cli.models.families import Family
from dycoke_cli.models.families.pixels import Inputs
from dycoke_cli.models.prompts.chat_template import render
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.models.prompts.stock_processor import (
    load_processor,
    takes_pictures_alone,
    takes_videos,
)
from dycoke_cli.models.prompts.video_prompt import (
    Frames,
    Turns,
    VideoPrompt,
    check_plain,
    conversation_of,
    frames_metadata,
    make_prompt,
    memory_of_processor,
    text_ids,
)
from dycoke_cli.models.resolve import ModelRef, explained, family_in, read_config
from dycoke_cli.stock.quiet import quiet_libraries

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Audio

_WOVEN = "use_audio_in_video"
_OWN_TOKENS = ("video_token_id", "image_token_id", "video_token_index", "image_token_index")


@dataclass(frozen=True, kw_only=True)
class StockPrompt(VideoPrompt):
    """All that is shown of one video, for a model that encodes it with each question.

    Args:
        family: of the model.
        config: of the model.
        pictures: `[F, H, W, 3]`, uint8, RGB: the frames that are shown.
        times: of each, in seconds.
        audio: what is heard with them; its tokens are text to all methods.
    """

    family: Family
    config: Any
    pictures: np.ndarray
    times: Sequence[float]
    audio: Audio | None = None
    _last: dict[Any, Inputs] = field(default_factory=dict, compare=False)

    def stock_inputs(self, question: str, history: Turns = ()) -> Inputs:
        """What `generate()` takes: token ids `[1, S]`, pixels as the processor normalised them.

        Args:
            question: plain text.
            history: what was asked about the video before, and what was answered.

        Raises:
            UsageError: a text contains a special token of the model.
            ModelError: the stock processor fails on the frames.
        """
        check_plain(self.processor, question, history, self.subtitles)
        asked = (question, *history)
        if asked not in self._last:  # it is asked for several times, by what an answer needs
            self._last.clear()
            conversation = conversation_of(question, history, 1, self.subtitles)
            if self.family.as_pictures:
                shown = [{"type": "image"}] * len(self.pictures)
                conversation[0]["content"][:1] = shown
            if self.audio is not None and not _weaves(self.processor):
                conversation[0]["content"].insert(-1, {"type": "audio"})
            text = _text(self.processor, conversation)
            self._last[asked] = self._processed(text)
        return dict(self._last[asked])

    def inputs_beside_video(self, question: str, history: Turns = ()) -> Inputs:
        """Those of them that are needed where the video was encoded before."""
        inputs = self.stock_inputs(question, history)
        return {n: value for n, value in inputs.items() if n not in self.family.vision_inputs}

    @property
    def newest_inputs(self) -> Inputs:
        """What `generate()` takes with the question that was asked last."""
        [inputs] = self._last.values()
        return dict(inputs)

    @property
    def shown_inputs(self) -> Inputs:
        """Those of them that have no value per token, and so are of the video."""
        shape = self.newest_inputs["input_ids"].shape
        return {n: value for n, value in self.newest_inputs.items() if value.shape[:2] != shape}

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """See `VideoPrompt.input_ids`."""
        return self.stock_inputs(question, history)["input_ids"]

    def counted(self) -> StockPrompt:
        """The same with its visual tokens: by frame where the layout is known, else all in one."""
        ids = self.input_ids("")
        token = self.family.token_id
        if token is None:
            token = placeholder_of(self.processor, self.config, ids)
        if token is None:
            # Nothing tells its tokens from those around them: all that the video adds to the text.
            visual = ids.shape[1] - text_ids(self.processor, "").shape[1]
        else:
            visual = int((ids == token).sum()) - self.family.tail
        known = self.family.token_id is not None
        frames = -(-len(self.pictures) // self.family.merged) if known else 1
        return replace(self, frames=frames, placeholders=visual, tokens_per_frame=visual // frames)

    def _processed(self, text: str) -> Inputs:
        frames = torch.from_numpy(self.pictures).permute(0, 3, 1, 2)
        given: dict[str, Any]
        if self.family.as_pictures:
            given = {"images": [list(frames)], "images_kwargs": {"return_tensors": "pt"}}
        elif not takes_videos(self.processor):
            given = {"images": [frames], "return_tensors": "pt"}
        else:
            options = self.family.video_options(self.config, self.processor.video_processor)
            given = {
                "videos": [[frames]],
                "videos_kwargs": {
                    "return_tensors": "pt",
                    "do_sample_frames": False,
                    "return_metadata": True,
                    "video_metadata": [frames_metadata(self.pictures, self.times)],
                    **options,
                },
            }
        span = self.times[-1] - self.times[0]
        if _weaves(self.processor) and span > 0:  # positions are in seconds, by this alone
            given["videos_kwargs"]["fps"] = (len(self.times) - 1) / span
        if self.audio is not None:
            given["audio"] = [self.audio.samples]
            given["audio_kwargs"] = {"sampling_rate": self.audio.rate, "return_tensors": "pt"}
            if _weaves(self.processor):
                given |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
        if self.family.typed:
            given["text_kwargs"] = {"return_mm_token_type_ids": True}
        try:
            with memory_of_processor(frames):
                made = self.processor(text=[text], **given)
        except (DycokeError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise ModelError(
                f"the model's stock processor ({type(self.processor).__name__}) fails on "
                f"{len(frames)} frames: {first_line(error)}"
            ) from error
        unused = ("video_metadata", "attention_mask")
        if self.audio is not None and _weaves(self.processor):
            made[_WOVEN] = [True]  # positions are made by it
        return {name: torch.as_tensor(value) for name, value in made.items() if name not in unused}


def show(processor: Any, family: Family, config: Any, clip: Frames) -> VideoPrompt:
    """What the prompts about a video share, by what is known of the family.

    Args:
        processor: of the model.
        family: of the model.
        config: of the model.
        clip: the frames with their times.
    """
    if not family.stock_inputs:
        return make_prompt(processor, family, config, clip)
    shown = frames_taken(family, len(clip.frames))
    prompt = StockPrompt(
        processor=processor,
        shown="",
        expanded="",
        prefix=torch.empty(1, 0, dtype=torch.int64),
        inputs={},
        frames=1,
        placeholders=0,
        tokens_per_frame=0,
        typed=False,
        subtitles="" if clip.subtitles is None else clip.subtitles.text,
        family=family,
        config=config,
        pictures=clip.frames[shown],
        times=[clip.timestamps_s[i] for i in shown],
        audio=clip.audio,
    )
    return prompt.counted()


def _weaves(processor: Any) -> bool:
    """Whether a processor puts the audio of a video between its frames, by their time."""
    return hasattr(processor, "load_audio_from_video")


def frames_taken(family: Family, frames: int) -> list[int]:
    """Which frames of a clip are shown, by their number: all, or as many as a family takes."""
    wanted = family.exact_frames or max(frames, family.least_frames)
    if wanted >= frames:  # the last one again
        return [min(i, frames - 1) for i in range(wanted)]
    return [int((i + 0.5) * frames / wanted) for i in range(wanted)]


def placeholder_of(processor: Any, config: Any, input_ids: torch.Tensor) -> int | None:
    """The token id that a video was written as, in a prompt without any picture.

    Args:
        processor: of the model.
        config: of the model.
        input_ids: `[1, S]`, int64.

    Returns:
        The most frequent of the ids that processor or configuration have for pictures and videos;
        None where the prompt has none of them.
    """
    owners = (config, processor, processor.tokenizer)
    known = {getattr(owner, name, None) for owner in owners for name in _OWN_TOKENS}
    counts = {one: int((input_ids == one).sum()) for one in known if isinstance(one, int)}
    most = max(counts, key=lambda one: counts[one], default=None)
    return most if most is not None and counts[most] else None


def count_tokens(source: ModelRef, clip: Frames, revision: str | None = None) -> ClipTokens:
    """The visual tokens of a clip, counted by the stock processor; no weights are downloaded.

    Args:
        source: the model.
        clip: the frames with their times.
        revision: branch, tag or commit of a hub model.

    Raises:
        ModelError: its files can't be read, or it isn't supported.
    """
    config, commit = read_config(source, revision)
    family = family_in(source, config)
    with quiet_libraries(), explained(source, "its processor"):
        return show(load_processor(source, commit), family, config, clip).tokens


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _text(processor: Any, conversation: Sequence[dict[str, Any]]) -> str:
    """The conversation by the chat template; its texts alone for a model that has none."""
    if takes_videos(processor) or takes_pictures_alone(processor):
        return render(processor, conversation)
    parts = (part for turn in conversation for part in turn["content"])
    return "\n".join(part["text"] for part in parts if part["type"] == "text")
