"""How a constraint is refused: the field it came in, and the library's words cut to one line."""

PARAM = "response_format"
MOST_CHARACTERS = 240


def library_words(message: str) -> str:
    """What llguidance says, without its dumps of state and backtraces."""
    for mark in ("\n<state>", "<non-verbose/>", "<backtrace>"):
        message = message.split(mark, 1)[0]
    line = " ".join(message.split())
    if line == "NoExtensionBias":
        line = "nothing can follow"
    return line if len(line) <= MOST_CHARACTERS else line[:MOST_CHARACTERS] + "…"
