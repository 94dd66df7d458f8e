"""The engines: what turns token ids into logits or text. Each native library is imported in its own file."""
