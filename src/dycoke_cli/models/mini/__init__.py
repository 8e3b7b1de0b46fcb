"""The bundled model: its checkpoint, and the clip of `dycoke demo`; `training/` makes both."""

UNKNOWN = "I only know moving shapes."
"""What it was trained to answer about any other video."""
