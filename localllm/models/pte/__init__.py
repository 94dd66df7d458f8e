"""What a program of ExecuTorch (.pte) says of itself, read without native code."""
