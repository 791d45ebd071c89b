"""CrossFit's few-shot files."""
