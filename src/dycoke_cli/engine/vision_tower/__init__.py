"""What happens inside the vision tower: merged frames, dropped patches, attention."""
