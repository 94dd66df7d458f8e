"""What this machine has: cores, memory, and what fits."""
