"""Prompts of families outside the table: the stock processor's inputs, made for each question.

Video and question are processed together every time, because it is unknown which of the inputs
depend on the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycoke_cli.errors import DycokeError, ModelError, VideoError
from dycoke_cli.models.devices import is_out_of_memory
from dycoke_cli.models.families import Discovered, Family
from dycoke_cli.models.families.pixels import Inputs
from dycoke_cli.models.files.read_errors import explained
from dycoke_cli.models.prompts.chat_template import render
from dycoke_cli.models.prompts.chat_text import Turns, check_plain, conversation_of, text_ids
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.models.prompts.prompt_frames import Frames, Length, ShownFrames, frames_metadata
from dycoke_cli.models.prompts.stock_processor import (
    load_processor,
    processor_memory_limited,
    takes_images_only,
    takes_videos,
)
from dycoke_cli.models.prompts.tool_turns import tools_of, tools_text
from dycoke_cli.models.prompts.video_prompt import VideoPrompt, make_prompt
from dycoke_cli.models.reference import ModelRef
from dycoke_cli.models.resolve import family_in, read_config
from dycoke_cli.stock.quiet import quiet_libraries
from dycoke_cli.video.kept_frames import decoded_size

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Audio

# Argument of the model that interleaves positions of audio and frames.
_INTERLEAVED = "use_audio_in_video"
# Height and width of frames that every processor accepts, and the aspect ratio that padding gives.
_USUAL_SIZE = (224, 224)
_LARGEST_ASPECT = 4
_TOKEN_ATTRIBUTES = ("video_token_id", "image_token_id", "video_token_index", "image_token_index")


@dataclass(frozen=True, kw_only=True)
class StockPrompt(VideoPrompt):
    """Prompt about one video whose frames the stock processor reads again for each question."""

    family: Family  # of the model
    config: Any  # of the model
    pictures: np.ndarray  # `[F, H, W, 3]`, uint8, RGB: the frames of the prompt
    times: Sequence[float]  # time of each frame in seconds
    length: Length  # of the video that they are from
    audio: Audio | None = None  # soundtrack; methods treat its tokens as text
    # Inputs of the latest question: an answer needs them several times (its token ids, its pixels,
    # the rest), and processing the frames takes seconds. More than one would hold pixels for each.
    _latest: dict[Any, Inputs] = field(default_factory=dict, compare=False)

    @property
    def _discovered(self) -> Discovered:
        return self.family.discovered or Discovered()

    def stock_inputs(self, question: str, history: Turns = ()) -> Inputs:
        """Inputs of `generate()`: token ids `[1, S]`, and pixels normalised by the processor.

        Args:
            question: plain text.
        """
        check_plain(self.processor, question, history, self.subtitles)
        key = (question, tools_text(question), *history)
        if key not in self._latest:
            self._latest.clear()
            conversation = conversation_of(question, history, 1, self.subtitles)
            if self._discovered.as_images:
                conversation[0]["content"][:1] = [{"type": "image"}] * len(self.pictures)
            # A processor that interleaves audio and frames expands the video placeholder into both.
            # Any other needs an audio placeholder, between the video and the question.
            if self.audio is not None and not _interleaves_audio(self.processor):
                conversation[0]["content"].insert(-1, {"type": "audio"})
            text = _text(self.processor, conversation, tools_of(question))
            self._latest[key] = self._processed(text)
        return dict(self._latest[key])

    def text_inputs(self, question: str, history: Turns = ()) -> Inputs:
        """Inputs of `generate()` that are needed once the video is encoded."""
        inputs = self.stock_inputs(question, history)
        vision_inputs = self._discovered.vision_inputs
        return {name: value for name, value in inputs.items() if name not in vision_inputs}

    @property
    def latest_inputs(self) -> Inputs:
        """Inputs of `generate()` for the latest question."""
        [inputs] = self._latest.values()
        return dict(inputs)

    @property
    def video_inputs(self) -> Inputs:
        """Inputs of the latest question that have no value per token: they describe the video."""
        shape = self.latest_inputs["input_ids"].shape
        return {n: value for n, value in self.latest_inputs.items() if value.shape[:2] != shape}

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """See `VideoPrompt.input_ids`."""
        return self.stock_inputs(question, history)["input_ids"]

    def counted(self) -> StockPrompt:
        """Copy with visual tokens counted: per frame if the layout is known, else as one frame."""
        ids = self.input_ids("")
        found = self._discovered
        token = found.token_id
        if token is None:
            token = placeholder_of(self.processor, self.config, ids)
        if token is None:
            # Without a placeholder id, visual tokens are those that the video adds to the prompt.
            visual = ids.shape[1] - text_ids(self.processor, "").shape[1]
        else:
            visual = int((ids == token).sum()) - self.family.tail
        frames = 1
        if found.token_id is not None:
            frames = -(-len(self.pictures) // found.temporal_patch_size)
        return replace(self, frames=frames, placeholders=visual, tokens_per_frame=visual // frames)

    def _processed(self, text: str) -> Inputs:
        frames = torch.from_numpy(self.pictures).permute(0, 3, 1, 2)
        arguments: dict[str, Any]
        if self._discovered.as_images:
            arguments = {"images": [list(frames)], "images_kwargs": {"return_tensors": "pt"}}
        elif not takes_videos(self.processor):
            # Older processors, such as InstructBLIP-Video's, take the video as `images`.
            arguments = {"images": [frames], "return_tensors": "pt"}
        else:
            options = self.family.video_options(self.config, self.processor.video_processor)
            height, width = self.pictures.shape[1:3]
            metadata = frames_metadata((height, width), self.times, self.length)
            arguments = {
                "videos": [[frames]],
                "videos_kwargs": {
                    "return_tensors": "pt",
                    "do_sample_frames": False,
                    "return_metadata": True,
                    "video_metadata": [metadata],
                    **options,
                },
            }
        duration = self.times[-1] - self.times[0]
        # Such processors count positions in seconds, which they derive from `fps` and not from the
        # metadata. Without it they assume a fixed rate, and audio and frames drift apart.
        if _interleaves_audio(self.processor) and duration > 0:
            arguments["videos_kwargs"]["fps"] = (len(self.times) - 1) / duration
        if self.audio is not None:
            arguments["audio"] = [self.audio.samples]
            arguments["audio_kwargs"] = {"sampling_rate": self.audio.rate, "return_tensors": "pt"}
            if _interleaves_audio(self.processor):
                arguments |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
        if self._discovered.token_types:
            arguments["text_kwargs"] = {"return_mm_token_type_ids": True}
        try:
            with processor_memory_limited(frames.nbytes):
                outputs = self.processor(text=[text], **arguments)
        except (DycokeError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise ModelError(
                f"the model's stock processor ({type(self.processor).__name__}) fails on "
                f"{len(frames)} frames: {first_line(error)}"
            ) from error
        # The metadata isn't a tensor, and the mask of a single prompt is all ones.
        unused = ("video_metadata", "attention_mask")
        if self.audio is not None and _interleaves_audio(self.processor):
            outputs[_INTERLEAVED] = [True]
        return {
            name: torch.as_tensor(value) for name, value in outputs.items() if name not in unused
        }


def show(processor: Any, family: Family, config: Any, clip: Frames) -> VideoPrompt:
    """Make the prompt of a video: a `StockPrompt` for a family outside the table."""
    try:
        return _shown(processor, family, config, clip)
    except (KeyboardInterrupt, OSError):
        raise
    except Exception as error:
        own = isinstance(error, DycokeError) and error.__cause__ is None
        if own or is_out_of_memory(error) or is_out_of_memory(error.__cause__ or error):
            raise
        # As many frames of a usual size show whether the model or the video is at fault.
        usual = ShownFrames.blank(len(clip.frames), *_USUAL_SIZE)
        try:
            _shown(processor, family, config, usual)
        except Exception:
            raise error from error.__cause__
        height, width = decoded_size(clip)
        size = f"{_padded(width, height)}:{_padded(height, width)}"
        raise VideoError(
            f"the model's processor refuses frames of {width}x{height} pixels "
            f"({first_line(error.__cause__ or error)}); add a border to the video: "
            f"`ffmpeg -i VIDEO -vf pad={size} padded.mp4`"
        ) from error


def _padded(side: int, other: int) -> int:
    """Side of a frame, extended to a quarter of the other, and to an even number for encoders."""
    least = max(side, -(-other // _LARGEST_ASPECT))
    return least + least % 2


def _shown(processor: Any, family: Family, config: Any, clip: Frames) -> VideoPrompt:
    if not family.stock_inputs:
        return make_prompt(processor, family, config, clip)
    chosen = frame_numbers(family, len(clip.frames))
    prompt = StockPrompt(
        processor=processor,
        shown="",
        expanded="",
        prefix=torch.empty(1, 0, dtype=torch.int64),
        inputs={},
        frames=1,
        placeholders=0,
        tokens_per_frame=0,
        token_types=False,
        subtitles="" if clip.subtitles is None else clip.subtitles.text,
        family=family,
        config=config,
        pictures=clip.frames[chosen],
        times=[clip.timestamps_s[i] for i in chosen],
        length=Length.of(clip),
        audio=clip.audio,
    )
    return prompt.counted()


def _interleaves_audio(processor: Any) -> bool:
    """Whether a processor interleaves a video's audio with its frames by time (Omni models)."""
    return hasattr(processor, "load_audio_from_video")


def frame_numbers(family: Family, frames: int) -> list[int]:
    """Numbers of a clip's frames that are shown: all, or as many as the family accepts."""
    exact = None if family.discovered is None else family.discovered.exact_frames
    number = exact or max(frames, family.least_frames)
    if number >= frames:  # too few: the last one is repeated
        return [min(i, frames - 1) for i in range(number)]
    # Too many: the middle frame of each of `number` equal segments.
    return [int((i + 0.5) * frames / number) for i in range(number)]


def placeholder_of(processor: Any, config: Any, input_ids: torch.Tensor) -> int | None:
    """Token id of the visual placeholder, in a prompt with a video and without other images.

    Args:
        processor: of the model.
        config: of the model.
        input_ids: `[1, S]`, int64.

    Returns:
        The most frequent of the image and video token ids of processor and configuration; None if
        the prompt has none of them.
    """
    # Families use the video token or the image token, under several names; the most frequent one is
    # the placeholder, because a video has far more tokens than separators.
    owners = (config, processor, processor.tokenizer)
    candidates = {getattr(owner, name, None) for owner in owners for name in _TOKEN_ATTRIBUTES}
    counts = {token: int((input_ids == token).sum()) for token in candidates if type(token) is int}
    most = max(counts, key=lambda token: counts[token], default=None)
    return most if most is not None and counts[most] else None


def count_tokens(source: ModelRef, clip: Frames, revision: str | None = None) -> ClipTokens:
    """Count the tokens of a clip, its text included, with the stock processor; needs no weights."""
    config, commit = read_config(source, revision)
    family = family_in(source, config)
    with quiet_libraries(), explained(source, "its processor"):
        processor = load_processor(source, commit)
        prompt = show(processor, family, config, clip)
        # Not by `text_ids`: an older processor has no chat template, and needs a video.
        alone = processor.tokenizer(_text(processor, conversation_of("", (), 0, "")))["input_ids"]
        added = prompt.input_ids("").shape[1] - len(alone)
    return replace(prompt.tokens, text=max(0, added - prompt.visual))


def first_line(error: BaseException) -> str:
    """Text of a library's error, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _text(
    processor: Any, conversation: Sequence[dict[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Render the conversation with the chat template; join its texts if the model has none."""
    if takes_videos(processor) or takes_images_only(processor):
        return render(processor, conversation, tools=tools)
    parts = (part for turn in conversation for part in turn["content"])
    return "\n".join(part["text"] for part in parts if part["type"] == "text")
