"""MLC LLM: models compiled for one kind of device, which its own engine schedules and samples."""
