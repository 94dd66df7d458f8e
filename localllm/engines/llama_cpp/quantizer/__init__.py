"""Quantizing by llama_model_quantize, and all that must be checked before it is called."""
