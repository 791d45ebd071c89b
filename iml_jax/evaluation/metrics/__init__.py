"""What answers are worth: scores, intervals, levels, and the results that keep them."""
