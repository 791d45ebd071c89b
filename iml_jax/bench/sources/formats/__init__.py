"""Readers of file formats: rows with their place in a file, whatever the benchmark."""
