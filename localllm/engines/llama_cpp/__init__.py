"""llama.cpp as a runner, on the low-level bindings of llama-cpp-python."""
