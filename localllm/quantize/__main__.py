"""`python -m localllm.quantize`: the child process that does one step. Its parent is `process/workshop.py`."""

from localllm.quantize.process.child import main

main()
