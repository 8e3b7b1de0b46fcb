"""Chooses a compression setting for a model from unlabelled videos."""
