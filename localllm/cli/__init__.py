"""The command line: one file for each verb; what the program is composed of is decided here."""
