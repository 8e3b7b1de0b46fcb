"""Each layer selects for itself: tokens and logits of a stock model masked to what loops select."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch

from dycoke_cli import DyCokePlus, VideoSession
from dycoke_cli.engine import chunks
from dycoke_cli.engine.ask_together import Question, ask_together
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.stock.private_api import cache_of
from tests.covering import covered
from tests.engine.own_reference import Choices, own_attention
from tests.exactness import assert_same
from tests.families import stock
from tests.families.stock import (
    BOTH_WAYS,
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    Shorter,
    clip,
    stock_inputs,
)
from tests.families.test_chunked_prefill import CHUNK, FAMILIES, Read
from tests.families.test_matrix import plain, positions_of
from tests.families.test_together import QUESTIONS, loaded_of, same
from tests.families.tiny import MAKERS, make

Stage2 = partial(DyCokePlus, retain=1.0, prune_from=0)
NEW_TOKENS = 5
SERVED = [name for name in MAKERS if name not in (*MERGING_ONLY, *NONE_ONLY)]
# One of each kind of positions and masks; what is selected doesn't depend on more of the family.
KINDS = [name for name in SERVED if name in stock.KINDS]


VARIANTS: dict[str, dict[str, Any]] = {
    "own": {},
    "per head": {"per_head": True},
    "on the host": {"dp_cache": "host"},
}


def with_variants(*names: str) -> list[Any]:
    """The first variant for every family, and the others for one of each kind."""
    first, *others = names
    cases = [*((f, first) for f in SERVED), *((f, n) for f in KINDS for n in others)]
    return covered(cases, together=1, first=KINDS)


class Own(Shorter):
    """The stock decoder over the whole sequence for every new token, masked layer by layer."""

    # added to the attention logits of the visual tokens; none for nothing
    bias: tuple[float, ...] = ()

    @torch.no_grad()
    def generate(self, method: DyCokePlus, renumbered: bool) -> tuple[list[int], list[Any]]:
        """Tokens and their logits."""
        seen, places, upcoming = self.embeds, self.positions, self.positions[..., -1:] + 1
        size = len(seen)
        if renumbered:
            places, upcoming = torch.arange(size)[None], torch.tensor([[size]])
        typed = torch.zeros(size, dtype=torch.bool)
        if self.model.config.model_type in BOTH_WAYS:
            typed = self.inputs["mm_token_type_ids"][0] > 0
        count = int(len(self.visual) * (1 - method.prune_ratio))
        bias = dict(zip(self.visual, self.bias, strict=False))
        choices = Choices(self.visual, size, count, method.prune_layer, method.per_head, bias)
        tokens: list[int] = []
        logits = []
        for step in range(NEW_TOKENS):
            with own_attention(self.model, choices):
                hidden = self._forward(seen, places, typed)
            logits.append(self.model.lm_head(hidden[0, -1]))
            tokens.append(int(logits[-1].argmax()))
            new = self.model.get_input_embeddings()(torch.tensor([tokens[-1]]))
            seen = torch.cat([seen, new])
            places = torch.cat([places, upcoming + step], dim=-1)
        return tokens, logits

    def _forward(self, seen: torch.Tensor, places: torch.Tensor, typed: torch.Tensor) -> Any:
        size = len(seen)
        mask = torch.full((size, size), -math.inf, dtype=torch.float64).triu(1)
        typed = torch.nn.functional.pad(typed, (0, size - len(typed)))
        mask[typed[:, None] & typed[None]] = 0
        if self.bias:
            mask[:, self.visual] += torch.tensor(self.bias, dtype=mask.dtype)

        def give(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            return args, kwargs | {"attention_mask": mask[None, None]}

        hooks = [
            layer.register_forward_pre_hook(give, with_kwargs=True) for layer in self.decoder.layers
        ]
        more: dict[str, Any] = {}
        if self.deepstack:
            shown = torch.zeros(1, size, dtype=torch.bool)
            shown[0, self.visual] = True
            more = {"visual_pos_masks": shown, "deepstack_visual_embeds": self.deepstack}
        try:
            return self.decoder(
                inputs_embeds=seen[None], position_ids=places, use_cache=False, **more
            ).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()


METHODS = {
    "own": {},
    "from the third layer": {"prune_layer": 2},
    "a tenth": {"prune_ratio": 0.9},
    "per head": {"per_head": True},
    "on the host": {"dp_cache": "host"},
    "per head on the host": {"dp_cache": "host", "per_head": True},
}


def answer(model: Any, inputs: Any, method: DyCokePlus) -> Any:
    with method(model) as attachment:
        output = model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return output, attachment.stats


@pytest.mark.parametrize(
    ("family", "frames", "name"),
    covered(
        [
            *((family, frames, "own") for family in SERVED for frames in (1, 5)),
            *((family, 5, name) for family in KINDS for name in METHODS if name != "own"),
            *(("llava_onevision", 1, name) for name in METHODS if name != "own"),
        ],
        together=1,
        first=KINDS,
    ),
)
def test_it_is_the_stock_model_masked_to_what_loops_select(family, frames, name) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(frames))
    shown = make_prompt(processor, family_of(model.config), model.config, clip(frames)).frames
    for positions in positions_of(family):
        method = Stage2(**{"prune_ratio": 0.6, "positions": positions} | METHODS[name])
        tokens, logits = Own(model, inputs, shown).generate(method, positions == "renumbered")
        output, [stats] = answer(model, inputs, method)
        assert output.sequences[0, -NEW_TOKENS:].tolist() == tokens
        for ours, theirs in zip(output.logits, logits, strict=True):
            assert_same(ours[0], theirs)
        kept = stats.visual_kept
        assert stats.active == [int(kept * (1 - method.prune_ratio))] * (NEW_TOKENS - 1)
        assert stats.choices_renewed == NEW_TOKENS - 2
        assert (stats.tokens_evicted, stats.tokens_recalled) == (0, 0)


@pytest.mark.parametrize(("family", "name"), with_variants(*VARIANTS))
def test_with_nothing_pruned_tokens_are_those_of_plain_generate(family, name) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(4))
    expected = plain(model, inputs)
    for positions in positions_of(family):
        with Stage2(prune_ratio=0.0, positions=positions, **VARIANTS[name])(model):
            assert plain(model, inputs) == expected


@pytest.mark.parametrize("family", [*MERGING_ONLY, *NONE_ONLY])
def test_layers_that_do_not_keep_every_token_are_refused(family) -> None:
    model, _ = make(family)
    refused = pytest.raises(UsageError, match=r"--(no-kv-prune|method none) works")
    with refused, Stage2()(model):
        pass


@pytest.mark.parametrize(("family", "name"), covered(product(FAMILIES, VARIANTS), together=1))
def test_a_prompt_in_chunks_is_as_one_in_one_pass(family, name, monkeypatch) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(9))
    methods = [
        Stage2(prune_ratio=0.6, positions=positions, **VARIANTS[name])
        for positions in positions_of(family)
    ]
    whole = [answer(model, inputs, method) for method in methods]
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", CHUNK + 1)
    monkeypatch.setattr(chunks, "CHUNK", CHUNK)
    for method, (expected, counts) in zip(methods, whole, strict=True):
        with Read(model) as read:
            output, stats = answer(model, inputs, method)
        assert read.longest == CHUNK
        assert output.sequences.tolist() == expected.sequences.tolist()
        for ours, theirs in zip(output.logits, expected.logits, strict=True):
            assert_same(ours, theirs)
        assert stats == counts
        ours, theirs = cache_of(output), cache_of(expected)
        assert (ours.nbytes, ours.host_nbytes) == (theirs.nbytes, theirs.host_nbytes)


@pytest.mark.parametrize(("family", "name"), with_variants("own", "on the host"))
def test_a_second_question_is_answered_as_in_a_session_of_its_own(family, name) -> None:
    loaded = loaded_of(family)
    method = Stage2(prune_ratio=0.6, positions="kept", **VARIANTS[name])
    session = VideoSession(loaded, clip(5))
    for number, question in enumerate(QUESTIONS):
        alone = VideoSession(loaded, clip(5), reuse=False)
        expected = alone.ask(question, method, max_new_tokens=NEW_TOKENS)
        with Read(loaded.model) as read:
            found = session.ask(question, method, max_new_tokens=NEW_TOKENS)
        assert same(found, expected)
        if number and name == "own" and family not in BOTH_WAYS:
            assert read.prefilled <= expected.tokens.text


@pytest.mark.parametrize(("family", "name"), with_variants(*VARIANTS))
def test_three_unequal_ones_are_answered_as_alone(family, name) -> None:
    loaded = loaded_of(family)
    sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate((1, 9, 5))]
    questions = [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=True)]
    method = Stage2(prune_ratio=0.6, positions="kept", **VARIANTS[name])
    together = ask_together(questions, method, GenerationOptions(max_new_tokens=NEW_TOKENS))
    for item, found in zip(questions, together, strict=True):
        assert same(found, item.session.ask(item.question, method, max_new_tokens=NEW_TOKENS))


def test_what_is_reported_is_what_was_read() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(9))
    found = session.ask(QUESTION, Stage2(prune_ratio=0.6, prune_layer=1), max_new_tokens=6)
    layers = loaded.model.get_decoder().config.num_hidden_layers
    kept = found.tokens.visual_kept
    assert found.tokens.visual_active_in_decode == int(kept * 0.4)
    read = (kept + (layers - 1) * int(kept * 0.4)) / layers
    assert found.tokens.visual_read_per_step == pytest.approx(read)
    assert (found.decode.steps, found.decode.choices_renewed) == (5, 4)
    assert (found.decode.tokens_evicted, found.decode.tokens_recalled) == (0, 0)
    every = session.ask(QUESTION, Stage2(prune_ratio=0.6), max_new_tokens=6)
    assert every.tokens.visual_read_per_step == int(kept * 0.4)
    assert every.flops.decode < found.flops.decode < every.flops.uncompressed
