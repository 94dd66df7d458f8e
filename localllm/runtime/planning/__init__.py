"""Where and how a model is loaded here, and what is tried where that fails."""
