"""`dycoke models info`: everything that is known of one model."""

from __future__ import annotations

from dycoke_cli.cli import options, output, render
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models.resolve import find


def info(name: options.ModelArgument, as_json: options.Json = False) -> None:
    """Show everything that is known of a model; nothing is downloaded."""
    from dycoke_cli.cli.model_documents import one_model

    document = one_model(find(name))
    if as_json:
        output.write_json(to_dict(document))
    else:
        render.model_table(document)
