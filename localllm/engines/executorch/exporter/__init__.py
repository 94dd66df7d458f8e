"""From a GGUF file to a program of ExecuTorch (.pte)."""
