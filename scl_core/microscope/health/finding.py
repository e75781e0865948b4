"""What a check says."""

from dataclasses import dataclass

SOUND, LOOK, UNKNOWN = "sound", "look", "unknown"


@dataclass(frozen=True)
class Finding:
    """One check: its `verdict` (`SOUND`, `LOOK` or `UNKNOWN`), the number, what that means and what to do.

    `number` is ready to be read, with its unit; `name` is the number's. `fault` names in a few words what
    asks for a look.
    """

    check: str
    verdict: str
    name: str
    number: str
    meaning: str
    advice: str = ""
    fault: str = ""
