"""The back ends that a program can be lowered to, one file each."""
