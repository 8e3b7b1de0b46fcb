"""Chat templates are rendered as stock ones are, within limits of time and memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import CONFIGURATIONS, published
from dycoke_cli.models.load import byte_tokenizer
from dycoke_cli.models.prompts.chat import check_template, render
from tests.marks import EXTENDED

QUESTION = {"type": "text", "text": "What? é\ud800" * 100}
CONVERSATION = [{"role": "user", "content": [{"type": "video"}, QUESTION]}]
NAMES = sorted(path.stem for path in CONFIGURATIONS.glob("*.json"))


class Processor:
    """A processor as far as its chat template."""

    def __init__(self, chat_template: Any) -> None:
        self.chat_template = chat_template
        named = {"special": {"<pad>": 0}, "named": {}, "pad": "<pad>"}
        tokenizer = byte_tokenizer(named, 300).backend_tokenizer
        self.tokenizer: Any = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>"
        )

    def apply_chat_template(self, conversation: Any, **given: Any) -> str:
        text: str = self.tokenizer.apply_chat_template(
            conversation, chat_template=self.chat_template, **given
        )
        return text


@pytest.mark.parametrize("alien", ["", "{# x #}{{ eos_token }}{{ tools }}{{ mood }}{{ mood }}"])
@pytest.mark.parametrize("name", NAMES)
def test_templates_are_rendered_as_stock_does(name: str, alien: str) -> None:
    """Published ones in this process, all others in one of their own."""
    processor = Processor("".join(published(name).processor["chat_template"]) + alien)
    check_template(processor)
    history = [*CONVERSATION, {"role": "assistant", "content": [QUESTION]}, *CONVERSATION]
    more = {"mood": "<b>", "add_generation_prompt": True}
    stock = processor.apply_chat_template(history, tokenize=False, **more)
    assert render(processor, history, variables={"mood": "<b>"}) == stock
    assert (f"{stock!r}".count("<b>"), processor.chat_template[-1:]) == (2, "}") or not alien


def test_a_template_many_times_as_long_as_published_ones_is_rendered() -> None:
    processor = Processor("{% for m in messages %}{{ m.role | trim }}{% endfor %}" * 1000)
    check_template(processor)
    assert render(processor, CONVERSATION * 20).startswith("useruser")


_DOUBLING = (
    "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}"
)
_TENS_OF_MB = "{% set s = 'a' * 9999 %}{% set s = s * 9999 %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3, "more time or memory than any"),
        (_DOUBLING + "{{ n.a }}", "more (time or )?memory than any real one"),
        ("{{ '%999999999d' % 1 }}", "more memory than any real one"),
        (_TENS_OF_MB + "{{ s }}", "it writes more than any real one"),
        ("{{ raise_exception('no\nyou') }}", ": no you;"),
        *(
            pytest.param(template, why, marks=EXTENDED)
            for template, why in (
                (
                    _TENS_OF_MB + "{% for i in range(9999) %}{% set x = s.upper() %}{% endfor %}",
                    "time",
                ),
                (_DOUBLING + "{{ n.a == n.b }}", "more time or memory than any real one"),
                (_TENS_OF_MB + "{% for i in range(99) %}{{ s }}{% endfor %}", "more memory than"),
                ("{{ (['a' * 9999] * 999999) | join }}", "more memory than any real one"),
            )
        ),
    ],
)
def test_limits_hold_for_a_template_alone(template: str, why: str) -> None:
    """A limit of the whole process made what other threads allocated meanwhile fail."""
    hostile, before = Processor(template), time.process_time()
    with ThreadPoolExecutor(1) as pool:
        rendering = pool.submit(render, hostile, CONVERSATION)
        while not rendering.done():
            assert len(bytes(1 << 30)) == 1 << 30
            wait([rendering], 0.1)
        with pytest.raises(ModelError, match=why):
            rendering.result()
    assert time.process_time() - before < 5
    assert render(Processor("hello"), CONVERSATION) == "hello"
    assert hostile.chat_template == template


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "it has none"),
        ({"rag": "x"}, "it has none"),
        ("a" * (1 << 18) + "a", "longer than any real one"),
        ("{{ '", "it isn't a template"),
    ],
)
def test_what_is_refused_before_it_is_compiled(template: Any, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        check_template(Processor(template))


@pytest.mark.parametrize(
    "template",
    ["{{ x * y }}", "{{ 2 ** 3 | urlize }}", {"default": "x", "rag": "{{ '"}],
)
def test_what_is_not_refused(template: Any) -> None:
    check_template(Processor(template))
