"""Orbax checkpoints of a run, and conversion to and from Hugging Face's."""
