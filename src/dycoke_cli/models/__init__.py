"""The model catalog, loading, and the layout of visual tokens in each family's sequences."""
