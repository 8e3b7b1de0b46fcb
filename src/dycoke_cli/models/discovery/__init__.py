"""Discovery of the layout of a family outside the table, on the loaded model."""
