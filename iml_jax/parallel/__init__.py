"""Meshes, sharding rules, and the hosts of a job."""
