"""`python -m localllm.quantize`: the child process that does one step. Its parent is `workshop.py`."""

from localllm.quantize.child import main

main()
