"""What is said to each request field that is not honoured: nothing is ignored in silence.

The lists are part of the documentation (docs/api.md), and a test compares the two.
"""

# Accepted without effect: they concern accounts, billing and caches of a hosted service.
IGNORED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "user",
        "verbosity",
    }
)

# Refused, unless the value asks for nothing.
REFUSED_CHAT: dict[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": (),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
}

REFUSED_COMPLETION: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
