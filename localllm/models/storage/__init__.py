"""The store: what is kept on disk, and nothing half done."""
