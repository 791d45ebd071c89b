"""The train step, the loop with its hooks, the optimizer, and what a run records."""
