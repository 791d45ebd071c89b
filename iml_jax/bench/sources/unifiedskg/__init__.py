"""UnifiedSKG: tasks over tables, databases and knowledge graphs."""
