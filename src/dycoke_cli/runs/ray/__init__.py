"""The engine that answers on a Ray cluster."""
