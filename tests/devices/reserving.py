"""What llama.cpp itself says it allocates: run as a program, with a model and, for each context, four numbers."""

import ctypes
import json
import re
import sys

import llama_cpp as lib

UBATCH_TOKENS = 512
LINE = re.compile(r"CPU (compute|KV) buffer size =\s+([\d.]+) MiB")
said: list[str] = []


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def collect(level: int, text: bytes, user_data: object) -> None:
    said.append(text.decode("utf-8", "replace"))


def buffers(model: object, context: int, jobs: int, flash_attention: int, kv_type: int) -> dict[str, float]:
    """MiB by kind, of a context made as LlamaRunner makes it."""
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.kv_unified = context * jobs, jobs, False
    params.n_batch, params.n_ubatch, params.flash_attn_type = 2048, UBATCH_TOKENS, flash_attention
    params.type_k = params.type_v = kv_type
    said.clear()
    lib.llama_free(lib.llama_init_from_model(model, params))
    return {kind: float(size) for kind, size in LINE.findall("".join(said))}


def main(path: str, cases: list[list[int]]) -> None:
    """Print a list of results, one for each case."""
    lib.llama_log_set(collect, ctypes.c_void_p(0))
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    print(json.dumps([buffers(model, *case) for case in cases]))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
