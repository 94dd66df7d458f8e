"""Making models, in the fake."""
