"""Steps in processes of their own, and the folder that they work in."""
