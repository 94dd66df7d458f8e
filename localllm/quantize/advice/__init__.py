"""Which type to take, by measurements on this machine."""
