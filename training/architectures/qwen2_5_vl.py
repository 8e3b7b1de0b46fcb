"""Qwen2.5-VL at a tiny size: frames in pairs, windows in the vision tower, positions in space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from training.architectures.base import (
    MEAN,
    PATCH,
    SIDE,
    STD,
    TEXT_WIDTH,
    VISION_WIDTH,
    Architecture,
    context_of,
    finished,
    text_config,
)
from training.cpu_layers import PairProduct
from training.tokenizer import IMAGE, OPEN, VIDEO, VISION_END, VISION_START, build_tokenizer

MERGED = 2  # patches a side that become one token
WINDOW = 4  # patches a side of a window
SECOND = 4  # positions that a second takes


class Qwen25VL(Architecture):
    """Tower 4 x 128: in layers 1 and 3 a patch sees its window, in 2 and 4 its pair of frames."""

    name = "qwen2.5-vl"
    together = 2
    opening = (OPEN, "user", VISION_START)
    inner = ("layers", "visual.blocks", "visual.merger")

    def tokenizer(self, side: int = SIDE) -> PreTrainedTokenizerFast:
        """The word-level tokenizer, with marks around a video."""
        return build_tokenizer(context_of(side), (VISION_START, VISION_END))

    def model(
        self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE
    ) -> Qwen2_5_VLForConditionalGeneration:
        """A model with fresh weights in float32; draws from torch's global generator."""
        ids = tokenizer.get_vocab()
        config = Qwen2_5_VLConfig(
            text_config=text_config(tokenizer, side, {"mrope_section": [8, 12, 12]}),
            vision_config={
                "depth": 4,
                "hidden_size": VISION_WIDTH,
                "intermediate_size": 384,
                "num_heads": 2,
                "patch_size": PATCH,
                "spatial_merge_size": MERGED,
                "temporal_patch_size": self.together,
                "window_size": WINDOW * PATCH,
                "fullatt_block_indexes": [1, 3],
                "out_hidden_size": TEXT_WIDTH,
                "tokens_per_second": SECOND,
            },
            image_token_id=ids[IMAGE],
            video_token_id=ids[VIDEO],
            vision_start_token_id=ids[VISION_START],
            vision_end_token_id=ids[VISION_END],
            tie_word_embeddings=False,
        )
        model = Qwen2_5_VLForConditionalGeneration(config)
        patches = model.model.visual.patch_embed.proj.weight
        with torch.no_grad():
            nn.init.orthogonal_(patches.view(VISION_WIDTH, -1), gain=0.5)
        return finished(model, tokenizer)

    def processor(
        self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE
    ) -> Qwen2_5_VLProcessor:
        """The stock processor: a square frame to side x side, any other to as many pixels."""
        cut: dict[str, Any] = {
            "size": {"shortest_edge": side**2, "longest_edge": side**2},
            "patch_size": PATCH,
            "merge_size": MERGED,
            "temporal_patch_size": self.together,
            "image_mean": MEAN,
            "image_std": STD,
        }
        return Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(**cut),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(**cut, cap_pixels_per_frame=False),
            chat_template=tokenizer.chat_template,
        )

    def speed_up(self, model: Any) -> None:
        """A product of matrices as patch embedding."""
        embedding = model.model.visual.patch_embed
        embedding.proj = PairProduct.of(embedding.proj)

    def pixels(self, clips: list[np.ndarray], video_processor: Any) -> Tensor:
        """[B, patches, 3 * 2 * 8 * 8] float32; an odd last frame is its own pair."""
        videos = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in clips]
        flat = video_processor(videos, return_tensors="pt")["pixel_values_videos"]
        found: Tensor = flat.view(len(clips), -1, flat.shape[-1])
        return found

    def frames(self, pixels: Tensor, count: int) -> Tensor:
        """[B, F, 3, side, side], put together from patches: in fours, each of a pair of frames."""
        steps = self.steps(count)
        fours = round((pixels.shape[1] // steps) ** 0.5) // MERGED
        cut = (steps, fours, fours, MERGED, MERGED, 3, self.together, PATCH, PATCH)
        # To pair, frame of the pair, channel, and then rows and columns from the outside in.
        parts = pixels.unflatten(1, cut[:5]).unflatten(-1, cut[5:])
        pictures = parts.permute(0, 1, 7, 6, 2, 4, 8, 3, 5, 9).flatten(7, 9).flatten(4, 6)
        return pictures.flatten(1, 2)[:, :count]

    def visual(self, model: Any, pixels: Tensor, steps: int) -> Tensor:
        """The visual tokens and the mark that ends the video."""
        rows, patches = pixels.shape[:2]
        side = round((patches // steps) ** 0.5)
        grid = torch.tensor([[steps, side, side]] * rows, device=pixels.device)
        found = model.model.get_video_features(pixels.flatten(0, 1), grid).pooler_output
        end = torch.tensor(model.config.vision_end_token_id, device=pixels.device)
        ends = model.get_input_embeddings()(end).expand(rows, 1, -1)
        tokens = torch.stack(list(found))
        return torch.cat([tokens, ends.to(tokens.dtype)], dim=1)

    def positions(self, shown: np.ndarray, steps: int, grid: int, seconds: float) -> Tensor:
        """Time, row and column; the video takes as many positions as a frame has rows."""
        before, line = len(self.opening), torch.arange(grid)
        times = (torch.from_numpy(shown) * SECOND * seconds).long()
        video = torch.stack(torch.meshgrid(times, line, line, indexing="ij")).flatten(1) + before
        opening = torch.arange(before).expand(3, -1)
        return torch.cat([opening, video, torch.full((3, 1), before + grid)], dim=1)
