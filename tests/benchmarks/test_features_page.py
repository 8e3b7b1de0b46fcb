"""The table of docs/dev/features.md is that of the code."""

from benchmarks import features_page


def test_the_page_is_what_the_code_says() -> None:
    page = features_page.PAGE.read_text(encoding="utf-8")
    assert page.endswith(
        f"<!-- features: make docs -->\n{features_page.text()}\n<!-- /features -->\n"
    ), "run `make docs`"
