"""Plots that commands write (`--plot`)."""
