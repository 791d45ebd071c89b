"""Results of an evaluation, metrics over them, the engine that makes them, and the pages that show them."""
