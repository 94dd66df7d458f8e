"""The process boundary: each loaded model lives in a process of its own."""
