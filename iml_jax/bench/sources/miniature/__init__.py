"""The embedded default: a small OPT-IML Bench, written from a seed."""
