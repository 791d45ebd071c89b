"""What every package may use: errors, process exit, printing, versions and seeds."""
