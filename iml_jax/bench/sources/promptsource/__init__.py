"""PromptSource's templates over dataset rows, and P3, which is what they render to."""
