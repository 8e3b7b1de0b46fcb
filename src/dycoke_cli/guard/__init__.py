"""Bounded probability of changed answers: uncertain answers are redone with more tokens."""
