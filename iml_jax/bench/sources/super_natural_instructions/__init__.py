"""Super-NaturalInstructions and its relatives."""
