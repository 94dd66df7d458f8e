"""`python -m localllm` is the `localllm` command."""

from localllm.cli.app import main

main()
