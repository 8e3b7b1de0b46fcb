"""What stock transformers does, and two references for what compression does to it.

One gives a shorter prompt to stock `generate()`. The other keeps everything, masks what is pruned,
and runs the stock decoder over the whole sequence for every new token, without a cache. They share
no code with `dycoke_cli`: their choices are those of `tests.engine.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from tests.engine.reference import Selector, merge, published_merge, top
from tests.exactness import generated
from tests.marks import EXTENDED
from tests.natural import Pictures

QUESTION = "What is it?"
# What a checkpoint's processor is told, beside the video; see docs/models.md.
OPTIONS: dict[str, dict[str, Any]] = {
    "video_llama_3": {"use_token_compression": False},
    "cosmos3_edge": {"return_metadata": True},
}
# Processors that refuse a single frame; the last one is shown twice.
PAIRS = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "cosmos3_omni", "cohere_compass",
         "glm4v", "glm46v", "glm4v_moe")  # fmt: skip
# Layers that keep no row a token: sliding windows, linear attention.
MERGING_ONLY = ("gemma4", "gemma4_large", "qwen3_5", "qwen3_5_moe")
NONE_ONLY = ("gemma4_unified",)
# Which experts of ERNIE read a token.
EXPERTS = "moe_mm_token_type_ids"
# All frames of a video see each other both ways.
BOTH_WAYS = ("molmo2",)
# One of each kind of positions, masks and layers. Each family is in `test_matrix.py`; where more is
# tested of it, `make test` has these.
KINDS = (
    "llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "cosmos3_omni", "glm4v", *BOTH_WAYS,
    "gemma4", "qwen3_5", *NONE_ONLY,
)  # fmt: skip

# One of each kind of masks: causal, with DeepStack, both ways within a video, sliding windows.
MASKS = ("llava_onevision", "qwen3_vl", *BOTH_WAYS, "gemma4")


def one_of_each_kind(cases: Iterable[Any], kinds: Container[Any] = KINDS) -> list[Any]:
    """Families, or cases of several values, for `parametrize`; `extended` but for `kinds`."""
    made = [(case, () if case in kinds else EXTENDED) for case in cases]
    assert not all(marks for _, marks in made)
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks)
        for case, marks in made
    ]


def clip(frames: int, seed: int = 0) -> Pictures:
    """Noise over a gradient that moves: no two frames are alike, neighbours are similar."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 200, 32).expand(24, 32)
    noise = torch.randint(0, 56, (frames, 24, 32, 3), generator=generator)
    moved = torch.stack([ramp.roll(3 * i, 1) for i in range(frames)])[..., None]
    return Pictures.of((moved + noise).to(torch.uint8).numpy())


def processed(
    family: str, processor: Any, *clips: Any, question: str = QUESTION, **options: Any
) -> dict[str, torch.Tensor]:
    """What a stock processor makes of clips and a question: true times, no frame left out.

    Args:
        family: `OPTIONS` and `PAIRS` have some.
        processor: of the family.
        clips: each has `frames` and `timestamps_s`.
        question: behind them.
        options: for the videos.
    """
    shown = [{"type": "video"} for _ in clips]
    turn = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
    videos, metadata = [], []
    for one in clips:
        frames, times = list(one.frames), [round(1000 * t) for t in one.timestamps_s]
        if len(frames) == 1 and family in PAIRS:
            frames, times = frames * 2, times * 2
        videos.append(torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in frames]))
        length = times[-1] + 40  # no file says how long the last frame is shown: as in a film
        height, width = frames[0].shape[:2]
        metadata.append(
            {
                "total_num_frames": length, "fps": 1000.0, "duration": length / 1000,
                "frames_indices": times, "height": height, "width": width,
            }
        )  # fmt: skip
    made = processor(
        text=[processor.apply_chat_template([turn], add_generation_prompt=True)],
        videos=[videos],
        text_kwargs={"return_mm_token_type_ids": True} if family == "cosmos3_edge" else {},
        videos_kwargs={
            "return_tensors": "pt",
            "do_sample_frames": False,
            "video_metadata": metadata,
            **OPTIONS.get(family, {}),
            **options,
        },
    )
    made.pop("video_metadata", None)
    return {name: torch.as_tensor(value) for name, value in made.items()}


def stock_inputs(family: str, processor: Any, *clips: Pictures, question: str = QUESTION) -> Any:
    """What a user of stock transformers gives to `generate()`: floats, true times.

    The floats are those of the processor, as float64: models of `make` may compute with them before
    they cast them.
    """
    tensors = processed(family, processor, *clips, question=question)
    return {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}


def placeholders(model: Any, inputs: dict[str, torch.Tensor]) -> list[int]:
    """The rows of the prompt that show the video, in order; LLaVA-OneVision's newline left out."""
    config = model.config
    uses_pictures = config.model_type in ("internvl", "smolvlm", "glm4v", "glm46v", "glm4v_moe")
    token = config.image_token_id if uses_pictures else config.video_token_id
    rows = (inputs["input_ids"][0] == token).nonzero().flatten().tolist()
    return rows[:-1] if config.model_type == "llava_onevision" else rows


def at_decoder(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the stock decoder is given of a prompt."""
    seen: list[dict[str, Any]] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if not seen:
            seen.append(dict(kwargs))

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        # generate() gives positions, which a bare forward may leave to the decoder.
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    hook.remove()
    return seen[0]


class Shorter:
    """Stock `generate()` on a prompt from which tokens were taken out."""

    def __init__(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        frames: int,
        visual: list[int] | None = None,
    ) -> None:
        self.model, self.decoder, self.inputs = model, model.get_decoder(), inputs
        given = at_decoder(model, inputs)
        self.embeds = given["inputs_embeds"][0]
        length = len(self.embeds)
        positions = given.get("position_ids")
        if positions is None:
            positions = torch.arange(length)[None]
        self.positions = positions[..., :1, :]
        self.visual = placeholders(model, inputs) if visual is None else visual
        self.frames, self.per_frame = frames, len(self.visual) // frames
        self.deepstack = list(given.get("deepstack_visual_embeds") or ())

    @property
    def features(self) -> torch.Tensor:
        """The visual tokens, `[F, N, D]`."""
        return self.embeds[self.visual].view(self.frames, self.per_frame, -1)

    def merged(self, merge_ratio: float | None) -> list[int]:
        """The visual tokens that stay under TTM."""
        every = list(range(len(self.visual)))
        return every if merge_ratio is None else merge(self.features, merge_ratio)

    def _read(self, kept: list[int]) -> tuple[list[int], list[int]]:
        """The rows that are read, and where the visual tokens that stay are among them.

        These are in the order of `kept`, which the published merging doesn't sort.
        """
        dropped = {self.visual[i] for i in range(len(self.visual)) if i not in set(kept)}
        rows = [r for r in range(len(self.embeds)) if r not in dropped]
        columns = [rows.index(self.visual[i]) for i in sorted(kept)]
        for column, i in zip(columns, kept, strict=True):
            rows[column] = self.visual[i]
        return rows, columns

    @torch.no_grad()
    def generate_shorter(
        self, new_tokens: int, kept: list[int], renumbered: bool
    ) -> tuple[list[int], list[torch.Tensor]]:
        """Tokens and their logits.

        Args:
            new_tokens: how many.
            kept: the visual tokens that stay, ascending.
            renumbered: whether positions close the gaps.
        """
        rows, columns = self._read(kept)
        positions = torch.arange(len(rows))[None] if renumbered else self.positions[..., rows]
        short = {"input_ids": self.inputs["input_ids"][:, rows], "position_ids": positions}
        for name in ("mm_token_type_ids", EXPERTS):
            if name in self.inputs:
                short[name] = self.inputs[name][:, rows]
        first = [True]

        def write(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            if not first:
                return None
            first.clear()
            kwargs["inputs_embeds"][0] = self.embeds[rows]
            if not self.deepstack:
                return None
            shown = torch.zeros(1, len(rows), dtype=torch.bool)
            shown[0, columns] = True
            stacked = [values[kept] for values in self.deepstack]
            return args, kwargs | {
                "visual_pos_masks": shown,
                "deepstack_visual_embeds": stacked,
            }

        hook = self.decoder.register_forward_pre_hook(write, with_kwargs=True)
        short["attention_mask"] = torch.ones_like(short["input_ids"])
        output = generated(self.model, short, new_tokens)
        hook.remove()
        tokens = output.sequences[0, -new_tokens:].tolist()
        return tokens, [logits[0] for logits in output.logits]


@dataclass
class Cut:
    """What a method does before a layer, in plain numbers."""

    layer: int  # the first that gets fewer tokens
    scoring: int  # the layer whose attention decides
    # from attention and hidden states of the visual tokens that are left to those that stay, by
    # their place among them, each with its hidden state or None for its own
    stay: Callable[[list[float], list[list[float]]], dict[int, list[float] | None]]


def best(ratio: float) -> Callable[[list[float], Any], dict[int, list[float] | None]]:
    """All but a share of them, by loops."""
    return lambda attention, hidden: dict.fromkeys(
        top(attention, int(len(attention) * (1 - ratio)))
    )


class Masked(Shorter):
    """Greedy decoding with nothing dropped from memory: what is pruned is masked.

    Attributes:
        weights: what is added to the attention to each visual token, if anything.
        kept: of `generate`, the visual tokens that were read, in their order.
        attention: of `generate`, at each decoding step the attention to each of them.
    """

    weights: torch.Tensor | None = None
    kept: list[int]
    attention: list[list[float]]

    @torch.no_grad()
    def generate(
        self,
        new_tokens: int,
        *,
        merge_ratio: float | None,
        prune_ratio: float | None,
        prune_layer: int = 2,
        renumbered: bool = False,
        published: bool = False,
        **selecting: Any,
    ) -> tuple[list[int], list[torch.Tensor], list[list[int]]]:
        """Tokens, their logits, and at each step which of the tokens read are active.

        Args:
            new_tokens: how many.
            merge_ratio: of TTM; None is without.
            prune_ratio: of KV pruning; None is without.
            prune_layer: the first layer that is pruned.
            renumbered: whether positions close the gaps.
            published: whether both stages are those of the published code.
            selecting: of `Selector`.
        """
        kept = self.merged(merge_ratio)
        if published and merge_ratio is not None:
            kept = published_merge(self.features, merge_ratio)
        rows, columns = self._read(kept)
        self.kept, self._rows = kept, rows
        self._types = torch.zeros(len(rows), dtype=torch.bool)
        if self.model.config.model_type in BOTH_WAYS:
            self._types = self.inputs["mm_token_type_ids"][0, rows] > 0
        seen = self.embeds[rows]
        places = self.positions[..., rows]
        upcoming = self.positions[..., -1:] + 1
        if renumbered:
            places = torch.arange(len(rows))[None]
            upcoming = torch.tensor([[len(rows)]])
        stacked = [values[kept] for values in self.deepstack]
        selector = Selector(prune_ratio or 0.0, published=published, **selecting)
        tokens, logits, actives, self.attention = [], [], [], []
        for step in range(new_tokens):
            if step and prune_ratio is not None:
                # What the scoring layer sees doesn't depend on the choice of this step.
                masks = self._masks(len(seen), columns, len(rows), actives, prune_layer)
                weights = self._forward(seen, places, columns, stacked, masks).attentions
                scored = weights[prune_layer - 1][0, :, -1].mean(0)
                self.attention.append([float(scored[c]) for c in columns])
                actives.append(selector.step(self.attention[-1]))
            masks = self._masks(len(seen), columns, len(rows), actives, prune_layer)
            hidden = self._forward(seen, places, columns, stacked, masks).last_hidden_state
            logits.append(self.model.lm_head(hidden[0, -1]))
            tokens.append(int(logits[-1].argmax()))
            new = self.model.get_input_embeddings()(torch.tensor([tokens[-1]]))
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return tokens, logits, actives

    def generate_by(self, method: Any, new_tokens: int) -> Any:
        """The same with the parameters of a DyCoke."""
        return self.generate(
            new_tokens,
            merge_ratio=method.merge_ratio if method.ttm else None,
            prune_ratio=method.prune_ratio if method.kv_prune else None,
            prune_layer=method.prune_layer if method.kv_prune else len(self.decoder.layers),
            renumbered=method.positions != "kept",
            published=method.variant == "published",
            threshold=method.recall_threshold,
            recall=method.recall,
        )

    def generate_or_shorten(self, method: Any, new_tokens: int) -> Any:
        """The same, by stock `generate()` on a shorter prompt where that is all that it does."""
        if method.kv_prune:
            return self.generate_by(method, new_tokens)
        kept = self.merged(method.merge_ratio if method.ttm else None)
        return *self.generate_shorter(new_tokens, kept, method.positions != "kept"), []

    @torch.no_grad()
    def generate_in_cuts(
        self, new_tokens: int, cuts: Sequence[Cut], queries: Sequence[int] = (-1,)
    ) -> tuple[torch.Tensor, list[int]]:
        """Logits `[steps, vocabulary]` where layers get fewer and fewer tokens, and how many.

        Args:
            queries: rows of the prompt whose attention decides.
        """
        self._rows = [*range(len(self.embeds))]
        seen, places, left = self.embeds, self.positions, self.visual
        gone: dict[int, list[int]] = {}  # rows, by the first layer without them
        states: dict[int, dict[int, torch.Tensor]] = {}  # by layer: rows with other hidden states
        counts, logits = [], []

        def run() -> Any:
            causal = torch.full((len(seen),) * 2, -math.inf, dtype=seen.dtype).triu(1)
            masks = []
            for number in range(len(self.decoder.layers)):
                causal[:, gone.get(number, [])] = -math.inf
                masks.append(causal.clone().fill_diagonal_(0))  # no row sees nothing at all
            return self._forward(seen, places, self.visual, self.deepstack, masks, states)

        for cut in cuts:
            found = run()
            attention = found.attentions[cut.scoring][0].mean(0)[[*queries]].mean(0)
            hidden = found.hidden_states[cut.layer][0]
            stay = cut.stay([float(attention[row]) for row in left], hidden[left].tolist())
            gone[cut.layer] = [row for place, row in enumerate(left) if place not in stay]
            states[cut.layer] = {
                left[place]: torch.tensor(state, dtype=hidden.dtype)
                for place, state in stay.items()
                if state is not None
            }
            left = [row for place, row in enumerate(left) if place in stay]
            counts.append(len(left))
        upcoming = self.positions[..., -1:] + 1
        for step in range(new_tokens):
            logits.append(self.model.lm_head(run().last_hidden_state[0, -1]))
            new = self.model.get_input_embeddings()(logits[-1].argmax()[None])
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return torch.stack(logits), counts

    def _masks(
        self,
        size: int,
        columns: list[int],
        prompt: int,
        actives: list[list[int]],
        prune_layer: int,
    ) -> list[torch.Tensor]:
        """The mask of each layer: from the prune layer on, rows of steps see what is active."""
        causal = torch.full((size, size), -math.inf, dtype=torch.float64).triu(1)
        typed = torch.nn.functional.pad(self._types, (0, size - len(self._types)))
        causal[typed[:, None] & typed[None]] = 0
        if self.weights is not None:
            causal[:, columns] += self.weights
        pruned = causal.clone()
        for step, active in enumerate(actives):
            waiting = [c for i, c in enumerate(columns) if i not in set(active)]
            pruned[prompt + step, waiting] = -math.inf
        layers = range(len(self.decoder.layers))
        return [pruned if number >= prune_layer else causal for number in layers]

    def _forward(
        self,
        seen: torch.Tensor,
        places: torch.Tensor,
        columns: list[int],
        stacked: list[torch.Tensor],
        masks: Sequence[torch.Tensor],
        states: Mapping[int, Mapping[int, torch.Tensor]] = {},
    ) -> Any:
        size, more = len(seen), dict[str, Any]()
        if EXPERTS in self.inputs:  # what is generated is text
            kinds = self.inputs[EXPERTS][:, self._rows]
            more[EXPERTS] = torch.nn.functional.pad(kinds, (0, size - kinds.shape[1]))
        if stacked:
            shown = torch.zeros(1, size, dtype=torch.bool)
            shown[0, columns] = True
            more = {"visual_pos_masks": shown, "deepstack_visual_embeds": stacked}
        return run_masked(self.model, seen, places, masks, states, **more)


def run_masked(
    model: Any,
    seen: torch.Tensor,
    places: torch.Tensor,
    masks: Sequence[torch.Tensor],
    states: Mapping[int, Mapping[int, torch.Tensor]] = {},
    **more: Any,
) -> Any:
    """The stock text decoder over a whole sequence, without a cache: what is gone is masked.

    Args:
        seen: embeddings `[S, D]`.
        places: their positions.
        masks: of each layer, added to its attention: `[S, S]`.
        states: by layer, hidden states that rows have in front of it in place of their own.
        more: of the decoder.
    """
    decoder = model.get_decoder()

    def hook(number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if written := states.get(number):
            hidden = args[0].clone()
            hidden[0, [*written]] = torch.stack([*written.values()])
            args = (hidden, *args[1:])
        return args, kwargs | {"attention_mask": masks[number][None, None]}

    hooks = [
        layer.register_forward_pre_hook(partial(hook, number), with_kwargs=True)
        for number, layer in enumerate(decoder.layers)
    ]
    before = decoder.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        return decoder(
            inputs_embeds=seen[None],
            position_ids=places,
            use_cache=False,
            output_attentions=True,
            output_hidden_states=True,
            **more,
        )
    finally:
        model.set_attn_implementation(before)
        for handle in hooks:
            handle.remove()
