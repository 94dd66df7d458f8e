"""The `format` values of JSON Schema that are enforced.

llguidance's own date and time would allow 2023-02-29, the year 0, a second 60 anywhere and fractions without
end; these patterns take a part of RFC 3339 that every checker accepts.
"""

_LEAP = "(?:0[48]|[2468][048]|[13579][26])"
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"

PATTERNS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}
LONGEST = {"hostname": 253}  # characters (RFC 1123), which llguidance does not count
NATIVE = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"})  # llguidance's own are right

FORMATS = NATIVE | PATTERNS.keys()
