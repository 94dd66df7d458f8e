"""The HTTP server: OpenAI's dialect over the service door."""
