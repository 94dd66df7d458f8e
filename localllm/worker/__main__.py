"""`python -m localllm.worker`: the child process. Its parent speaks to it over stdin and stdout."""

from localllm.worker.child import main

main()
