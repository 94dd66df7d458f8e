"""The Hugging Face hub: what is in a repository, what of it may be pulled, and where its bytes are."""
