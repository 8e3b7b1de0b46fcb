"""Access to transformers and torch that depends on their internals or versions."""
