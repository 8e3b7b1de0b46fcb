"""The bundled model: how it is trained, and the world that it is trained on; not installed."""
