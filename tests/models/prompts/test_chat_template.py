"""Chat templates are rendered as stock ones are, within limits of steps and memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import CONFIGURATIONS, published
from dycoke_cli.models.load import byte_tokenizer
from dycoke_cli.models.prompts.chat_template import check_template, render

QUESTION = {"type": "text", "text": "What? " * 100}
CONVERSATION = [{"role": "user", "content": [{"type": "video"}, QUESTION]}]
NAMES = sorted(path.stem for path in CONFIGURATIONS.glob("*.json"))


@dataclass
class Processor:
    """A processor as far as its chat template."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, **_: Any) -> str:
        tokenizer: Any = PreTrainedTokenizerFast(
            tokenizer_object=byte_tokenizer(
                {"special": {"<pad>": 0}, "named": {}, "pad": "<pad>"}, 300
            ).backend_tokenizer
        )
        return tokenizer.apply_chat_template(
            conversation,
            chat_template=self.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )


@pytest.mark.parametrize("name", NAMES)
def test_published_templates_are_rendered_as_stock_does(name: str) -> None:
    processor = Processor("".join(published(name).processor["chat_template"]))
    check_template(processor)
    history = [*CONVERSATION, {"role": "assistant", "content": [QUESTION]}, *CONVERSATION]
    assert render(processor, history) == processor.apply_chat_template(history)


def test_a_template_many_times_as_long_as_published_ones_is_rendered() -> None:
    processor = Processor("{% for m in messages %}{{ m.role | trim }}{% endfor %}" * 1000)
    check_template(processor)
    assert render(processor, CONVERSATION * 20).startswith("useruser")


def test_others_who_trace_go_on() -> None:
    before = sys.gettrace()
    render(Processor("hello"), CONVERSATION)
    assert sys.gettrace() is before


def test_limits_hold_for_one_template_and_not_for_the_next() -> None:
    endless = Processor("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}" * 2)
    endless.chat_template += "{% endfor %}" * 2
    with pytest.raises(ModelError, match="more steps than any real one"):
        render(endless, CONVERSATION)
    large = Processor("{{ '%999999999d' % 1 }}")
    with pytest.raises(ModelError, match="more memory than any real one"):
        render(large, CONVERSATION)
    assert len(bytes(1 << 30)) == 1 << 30  # no limit is left behind
    assert render(Processor("hello"), CONVERSATION) == "hello"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "it has none"),
        ({"rag": "x"}, "it has none"),
        ("a" * (1 << 18) + "a", "longer than any real one"),
        ("{{ 2 **  3 }}", r"it has \*\*"),
        ("{{ messages * messages }}", r"it has \*"),
        ("{{ 'a' * 10000 }}", r"it has \*"),
        ("{{ x |  urlize }}", "it has urlize"),
        ("{{ '", "it isn't a template"),
    ],
)
def test_what_is_refused_before_it_is_compiled(template: Any, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        check_template(Processor(template))


@pytest.mark.parametrize(
    "template",
    ["{{ ' ' * 4 }}", "{{ 2 * x }}", "** * {# ** #} urlize", {"default": "x", "rag": "{{ '"}],
)
def test_what_is_not_refused(template: Any) -> None:
    check_template(Processor(template))
