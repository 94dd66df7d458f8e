"""OpenVINO: GGUF files and its own models, batched by its own scheduler."""
