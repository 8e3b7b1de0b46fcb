"""From a question and a clip to the inputs of a stock model."""
