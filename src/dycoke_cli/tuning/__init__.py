"""Hyperparameter search over compression methods, on unlabelled videos."""
