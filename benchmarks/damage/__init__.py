"""Damaged inputs: what is damaged and how, the fork server that runs the commands, and what came of it."""
