"""ExecuTorch: programs (.pte) that it runs, and making them."""
