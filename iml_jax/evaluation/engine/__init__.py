"""Runs a model on prepared tasks: scoring, generation, resumption."""
