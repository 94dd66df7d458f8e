"""What tells of power and heat, system by system."""
