"""Chain-of-thought tasks."""
