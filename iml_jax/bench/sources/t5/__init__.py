"""T5's supervised tasks."""
