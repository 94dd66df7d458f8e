"""ChatService in this process: models, each with a worker that is started, watched and started again."""
