"""Rules of decode pruning on a language model with published weights: what each loses, on text."""
