"""From the vocabulary of a GGUF file to the tokenizer files of a repository on the hub."""
