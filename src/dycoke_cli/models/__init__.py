"""Models: catalog, resolving and loading, layouts of families, prompts."""
