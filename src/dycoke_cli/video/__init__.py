"""Decoding of videos to RGB frames with their time stamps; independent of models and torch."""
