"""The layout of a family that the table doesn't list, found on the loaded model."""
