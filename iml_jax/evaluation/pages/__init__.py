"""What people read of results: HTML pages, plots, tables on a terminal."""
