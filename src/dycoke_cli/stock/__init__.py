"""What is used of transformers and torch beyond their public names, in one place."""
