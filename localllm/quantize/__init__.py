"""From a model to a smaller one of known quality."""
