"""Results of an evaluation, the metrics over them, the engine that makes them and the pages that show them."""
