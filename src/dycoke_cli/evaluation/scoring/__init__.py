"""Scoring rules, statistics, and LLM judges."""
