"""Architecture families: what each calls its tensors, and what it wants to be known of it."""
