"""Prompts: the inputs of a stock model, made from a question and a clip."""
