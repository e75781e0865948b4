"""Finds calls that could run somebody else's code or markup, with ast: a comment or a text cannot set it off."""

import ast
from collections.abc import Iterator

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "yaml.load": "use yaml.safe_load",
    "yaml.load_all": "use yaml.safe_load_all",
    "yaml.full_load": "use yaml.safe_load",
    "yaml.unsafe_load": "use yaml.safe_load",
    "torch.export.load": "runs what the file says",
    "torch.jit.load": "runs what the file says",
    "torch.hub.load": "runs downloaded code",
    "os.system": "use a list of arguments",
    "os.popen": "use a list of arguments",
    "subprocess.getoutput": "goes through a shell",
    "subprocess.getstatusoutput": "goes through a shell",
    "streamlit.html": "shows markup",
    "streamlit.components.v1.html": "shows markup",
    "eval": "runs text",
    "exec": "runs text",
}
FORBIDDEN_KEYWORDS = {
    "shell": "use a list of arguments",
    "unsafe_allow_html": "shows markup",
    "allow_pickle": "unpickles",
}


def unsafe_calls(source: str) -> list[tuple[int, str]]:
    """(line, what is wrong) of every forbidden import, call and keyword in a file's text."""
    tree = ast.parse(source)
    names = imported_names(tree)
    found = [(node.lineno, problem) for node in ast.walk(tree) for problem in problems(node, names)]
    return sorted(found)


def problems(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (f"import of {module}" for module in modules if module.split(".")[0] in FORBIDDEN_MODULES)
    if isinstance(node, ast.Call):
        called = dotted_name(node.func, names)
        if called in FORBIDDEN_CALLS and not (called == "streamlit.html" and is_written_style(node)):
            yield f"{called}: {FORBIDDEN_CALLS[called]}"
        if called == "torch.load" and not any(word.arg == "weights_only" for word in node.keywords):
            yield "torch.load without weights_only=True"
        yield from (problem for word in node.keywords for problem in keyword_problems(word))


def is_written_style(call: ast.Call) -> bool:
    """Whether a call's only argument is one style element, written out where it is called: nothing can get into it."""
    if len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Constant):
        return False
    text = str(call.args[0].value)
    return text.startswith("<style>") and text.endswith("</style>") and text.count("<") == 2


def keyword_problems(word: ast.keyword) -> Iterator[str]:
    """A forbidden switch may only be written as a plain False; weights_only only as a plain True."""
    value = word.value.value if isinstance(word.value, ast.Constant) else None
    if word.arg == "weights_only" and value is not True:
        yield "weights_only must be the word True"
    if word.arg in FORBIDDEN_KEYWORDS and value is not False:
        yield f"{word.arg}: {FORBIDDEN_KEYWORDS[word.arg]}"


def imported_names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `import streamlit as st` -> {"st": "streamlit"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted_name(node: ast.AST, names: dict[str, str]) -> str:
    """`st.html` -> `streamlit.html`; an empty text for whatever is no dotted name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = dotted_name(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""
