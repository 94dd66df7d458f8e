"""Messages to prompts: chat templates."""
