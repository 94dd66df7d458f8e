"""Sizes in words."""


def size_words(size_bytes: int) -> str:
    """A size for a person: 0 kB, 434 kB, 639 MB, 1.1 GB."""
    if size_bytes >= 999_500_000:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 999_500 else f"{-(-size_bytes // 1000)} kB"
