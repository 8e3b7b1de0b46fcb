"""The report of `dycoke verify --decode-rules`: its figures, and models that it isn't made of."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GptOssConfig, GptOssForCausalLM

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.verification.decode_rules import run_decode_rules
from dycoke_cli.verification.decode_rules.ask_rules import RuleAnswer, check_equals_stock
from dycoke_cli.verification.decode_rules.contexts import context
from dycoke_cli.verification.decode_rules.load_decoder import LoadedDecoder, load_decoder
from dycoke_cli.verification.decode_rules.rule_figures import Estimate, figures, grouped
from dycoke_cli.verification.decode_rules.rules import Rule
from dycoke_cli.verification.decode_rules.run_decode_rules import compare_rules
from dycoke_cli.verification.decode_rules.text_decoder import Prompt, of_model, prompt_of
from tests.verification.decode_rules.folders import CONTEXT_LENGTH, llama, text_folder

SHAPE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.5,
    "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedDecoder:
    return load_decoder(str(text_folder(tmp_path_factory.mktemp("text"))))


def answer(rule: Rule, same: int, right: bool) -> RuleAnswer:
    """Of four steps; the divergence is one nat for each that differs."""
    return RuleAnswer(rule, 4, same, 4.0 - same, "", right)


def test_figures_by_hand() -> None:
    """Two of three facts found, of three with the full cache, in a model of five layers."""
    full, rule = Rule("full"), Rule("dycoke", 2, 0.5)
    found = [(4, True), (2, True), (0, False)]
    contexts = [[answer(full, 4, True), answer(rule, *one)] for one in found]
    whole, row = figures(grouped(contexts), layers=5, windows=[0, 4])
    assert (whole.retention_at_decode, whole.facts_found) == (1, Estimate(1, 0))
    assert whole.difference is None
    assert row.retention_at_decode == 1 - 0.5 * 2 / 5  # layers 2 and 3 are pruned
    assert row.same_next_token.mean == 0.5
    assert row.same_next_token.standard_error == pytest.approx(0.5 / sqrt(3))
    assert row.divergence.mean == 0.5
    assert row.facts_found.mean == pytest.approx(2 / 3)
    third = pytest.approx(1 / 3)  # sqrt((2/3)(1/3) / 2)
    assert row.facts_found.standard_error == third
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(-1 / 3)
    assert row.difference.standard_error == third


def test_a_single_context_has_no_error() -> None:
    (row,) = figures(grouped([[answer(Rule("full"), 4, False)]]), 2, ())
    assert row.facts_found == Estimate(0, None)


def test_the_report_counts_what_was_asked(loaded: LoadedDecoder) -> None:
    seen: list[tuple[int, int]] = []
    report = compare_rules(loaded, 2, 1, lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]
    assert (report.contexts, report.sentences, report.model.layers) == (2, 1, 4)
    assert report.model.name == loaded.name
    assert (report.model.family, report.model.dtype) == ("llama", "float32")
    texts = [context(number, 1).text for number in (0, 1)]
    assert report.prunable_tokens == sum(map(len, texts)) / 2  # a token per letter
    assert report.rules[0].rule == "full"
    assert report.rules[0].same_next_token.mean == 1
    kinds = {one.rule for one in report.rules[1:]}
    assert kinds == {"dycoke", "random", "index", "index per head", "exact", "pages"}
    assert any(one.same_next_token.mean < 1 for one in report.rules)
    assert report.warnings[0].startswith("with its full cache the model finds 0 % of the facts")


def test_a_model_that_finds_facts_has_no_warning() -> None:
    assert run_decode_rules._warnings(0.5) == ()
    assert run_decode_rules._warnings(0.49) != ()


def test_a_text_that_is_too_long(loaded: LoadedDecoder) -> None:
    tokens = max(prompt_of(loaded.tokenizer, context(n, 9)).ids.shape[1] for n in (0, 1)) + 12
    says = f"9 sentences take {tokens} tokens, and .* has a context length of {CONTEXT_LENGTH};"
    with pytest.raises(UsageError, match=says):
        compare_rules(loaded, 2, 9)
    # To the token: one that just fits is asked.
    prompt = prompt_of(loaded.tokenizer, context(0, 1)).ids.shape[1]
    fits = replace(loaded.decoder, context_length=prompt + 12)
    assert compare_rules(replace(loaded, decoder=fits), 1, 1).contexts == 1
    short = replace(loaded.decoder, context_length=prompt + 11)
    with pytest.raises(UsageError, match="context length"):
        compare_rules(replace(loaded, decoder=short), 1, 1)


def sinks(vocabulary: int = 64) -> Any:
    """Attention to nothing, with a learned logit."""
    config = GptOssConfig(
        **SHAPE | {"vocab_size": vocabulary}, num_local_experts=2, num_experts_per_tok=1,
        layer_types=["full_attention", "full_attention"],
    )  # fmt: skip
    model = GptOssForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.constant_(layer.self_attn.sinks, 3.0)
    return model


def caps() -> Any:
    """Scores with a soft cap."""
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, attn_logit_softcapping=0.5, sliding_window=16))


@pytest.mark.parametrize("make", [sinks, caps], ids=lambda make: make.__name__)
@torch.inference_mode()
def test_attention_with_more_than_a_softmax_is_refused(make: Any) -> None:
    torch.manual_seed(0)
    decoder = of_model(make().eval())
    with pytest.raises(ModelError, match=r"attention of \w+ isn't supported by --decode-rules"):
        check_equals_stock(decoder, Prompt(torch.arange(1, 41)[None], slice(3, 30)))


def test_rules_of_such_a_model_are_not_reported(loaded: LoadedDecoder) -> None:
    torch.manual_seed(0)
    decoder = of_model(sinks(len(loaded.tokenizer)).eval())
    with pytest.raises(ModelError, match="isn't supported by --decode-rules"):
        compare_rules(replace(loaded, decoder=decoder), 1, 1)


@torch.inference_mode()
def test_a_model_whose_attention_is_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no notice of the attention that it is given."""
    decoder = of_model(llama())
    monkeypatch.setattr(decoder.model, "set_attn_implementation", lambda name: None)
    decoder.model.config._attn_implementation = "eager"
    with pytest.raises(ModelError, match="with nothing pruned, logits differ by"):
        check_equals_stock(decoder, Prompt(torch.arange(1, 41)[None], slice(3, 30)))


@torch.inference_mode()
def test_stock_attention_passes() -> None:
    check_equals_stock(of_model(llama()), Prompt(torch.arange(1, 41)[None], slice(3, 30)))


def test_layers_that_share_kv_entries_are_refused() -> None:
    model = llama()
    model.config.num_kv_shared_layers = 1
    with pytest.raises(UsageError, match="layers that read the KV entries of others"):
        of_model(model)


def test_linear_attention_is_refused() -> None:
    model = llama()
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UsageError, match="has layers of linear_attention"):
        of_model(model)
