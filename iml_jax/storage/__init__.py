"""The lowest layer that touches files: reading what others wrote, writing atomically, leases."""
