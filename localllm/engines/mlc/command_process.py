"""A process that runs one of MLC's own commands, and ends with whoever started it.

python -P -m localllm.engines.mlc.command_process convert_weight …
"""

import runpy

from localllm.engines.mlc.leash import end_with_stdin

if __name__ == "__main__":
    end_with_stdin()
    runpy.run_module("mlc_llm", run_name="__main__", alter_sys=True)
