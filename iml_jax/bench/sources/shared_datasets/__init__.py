"""Public datasets that several benchmarks read: one adapter each."""
