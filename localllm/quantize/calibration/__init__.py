"""What a model is calibrated with: texts, and the importance that comes of them."""
