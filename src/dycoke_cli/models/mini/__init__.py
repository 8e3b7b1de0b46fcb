"""The bundled model: its checkpoint, and the clip of `dycoke demo`; `training/` makes both."""
