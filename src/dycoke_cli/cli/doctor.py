"""`dycoke doctor`: versions, the device and the processor, extras, and the kernels chosen."""

from __future__ import annotations

import contextlib

from dycoke_cli.cli import options, output, render
from dycoke_cli.json_schema import to_dict

SCHEMA = "dycoke.doctor/1"


def doctor(as_json: options.Json = False) -> None:
    """Show versions, devices, processor, extras, and the CPU kernels that were measured here.

    Examples:
        dycoke doctor
        dycoke doctor --json

    No model is loaded, and nothing is measured: the first load of a model does that.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        from dycoke_cli.cli.doctor_document import diagnose

        found = diagnose()
        if as_json:
            output.write_json(to_dict(found))
            return
        render.doctor_tables(found)
