"""Benchmarks that are evaluated only: MMLU, BBH, BIG-bench, RAFT, OPT's fourteen tasks."""
