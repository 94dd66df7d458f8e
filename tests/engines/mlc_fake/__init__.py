"""A fake of MLC LLM, for machines without it: the package's surface as far as localllm uses it, and no model at all.

What it does was read in mlc-ai/mlc-llm, and partly seen in a build from source. Tests put `FAKE` on the path.
"""

from pathlib import Path

FAKE = Path(__file__).parent
