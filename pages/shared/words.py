"""Numbers, times and names as a reader wants to see them."""

import unicodedata
from urllib.parse import quote

UNREADABLE = "unreadable"
STATE_SIGNS = {
    "queued": "◌", "running": "▶", "stopping": "◧", "stopped": "■", "finished": "✔",
    "failed": "✖", "stalled": "!", "lost": "?", UNREADABLE: "⚠",
}  # fmt: skip
STATE_MEANINGS = {
    "queued": "waiting for its process",
    "running": "training",
    "stopping": "saves a checkpoint, then stops",
    "stopped": "stopped by request; it can be resumed",
    "finished": "all steps done",
    "failed": "ended by an error",
    "stalled": "its process lives but has shown no sign of work for a while",
    "lost": "its process is gone and left no last word",
    UNREADABLE: "the folder cannot be read as a run",
}


def plain_name(text: object) -> str:
    """A name without characters that hide or reorder text (control, bidirectional), each shown as �."""
    return "".join("�" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char for char in str(text))


def state_label(state: str) -> str:
    """A sign and a word, never a colour alone: `▶ running`."""
    return f"{STATE_SIGNS.get(state, '?')} {state}"


def percent(value: float | None) -> str:
    """A share of 1 in percent with one decimal; a dash where there is none."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that say something: `2 h 5 min`, `40 s`; a dash where unknown."""
    if seconds is None or seconds != seconds:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def term(name: str, label: str | None = None) -> str:
    """A link, in Markdown, to what the glossary says of a word; `glossary` itself leads to all of them."""
    query = "" if name == "glossary" else f"?term={quote(name)}"
    return f"[{label or name}](/glossary{query})"
