"""Pre-training text and dialogue."""
