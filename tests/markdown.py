"""Takes a Markdown file apart: fenced blocks, commands, links, headings, and an annotated tree of files."""

import re
import shlex
from dataclasses import dataclass

FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
SHELLS = {"bash", "sh", "shell", "console"}


@dataclass(frozen=True)
class Entry:
    """A file or folder of an annotated tree, its path from the tree's top, and the remark on its line."""

    path: str
    remark: str


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in one of the languages; "" is a block without one."""
    return [found["text"] for found in FENCE.finditer(text) if found["language"] in languages]


def commands(text: str) -> list[list[str]]:
    """The commands of shell blocks, split into words: prompts, remarks and assignments in front are left out."""
    lines = "".join(blocks(text, *SHELLS)).replace("\\\n", " ").replace(" && ", "\n").splitlines()
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words for found in split if (words := without_assignments(found))]


def without_assignments(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*", words[0]):
        words = words[1:]
    return words


def links(text: str) -> list[str]:
    """Where the links and images of the prose lead; fenced and inline code is not prose."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return [inline or tag for inline, tag in LINK.findall(prose)]


def anchors(text: str) -> set[str]:
    """The anchors of the headings: lower case, dashes for spaces, no other punctuation."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tree(block: str) -> list[Entry]:
    """The entries of an annotated tree: a folder ends in "/", what lies in it is indented.

    Two spaces or # begin the remark. One line may name several files: `evaluate.py predict.py      the other commands`.
    """
    entries, folders = [], []
    for line in filter(str.strip, block.splitlines()):
        bare = re.sub(r"^[\s│├└─|`]*(?:-- )?", "", line)
        depth = len(line) - len(bare)
        names, remark = (re.split(r"\s{2,}|\s*#\s*", bare, maxsplit=1) + [""])[:2]
        folders = [(indent, folder) for indent, folder in folders if indent < depth]
        above = folders[-1][1] if folders else ""
        entries += [Entry(above + name, remark) for name in names.replace("·", " ").split()]
        if names.endswith("/"):
            folders.append((depth, above + names.split()[-1]))
    return entries
