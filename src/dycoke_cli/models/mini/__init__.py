"""The bundled model: its checkpoint, how it is trained, and the sample clips."""
