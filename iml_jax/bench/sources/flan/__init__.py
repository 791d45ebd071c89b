"""FLAN: its patterns over rows (2021), and its rendered collections."""
