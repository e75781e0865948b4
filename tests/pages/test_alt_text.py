"""Every table, chart and picture of every page says in words what it shows."""

import ast
from pathlib import Path

import pytest

DRAWN = ("dataframe", "data_editor", "table", "plotly_chart", "altair_chart", "line_chart", "bar_chart", "image")
READ = ("pictures", "listed")
"""Names of lists of pictures, whose `image` reads a file and draws nothing."""


def drawing_calls(source: str) -> list[ast.Call]:
    """The calls that put a table, a chart or a picture on the page."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in DRAWN]
    return [call for call in named if not any(word in ast.unparse(call.func.value) for word in READ)]


def without_words(source: str) -> list[str]:
    """Those of them that have no alternative text, or an empty one."""
    given = {call: [item.value for item in call.keywords if item.arg == "alt"] for call in drawing_calls(source)}
    return [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call, values in given.items()
        if not values or (isinstance(values[0], ast.Constant) and not values[0].value)
    ]


@pytest.mark.parametrize("page", sorted(map(str, Path("pages").glob("*/*.py"))))
def test_what_is_drawn_has_words(page):
    assert without_words(Path(page).read_text()) == []


def test_a_drawing_without_words_is_found():
    assert len(drawing_calls("import streamlit as st\nst.image(x, alt='A cat')\npictures.image(0)")) == 1
    assert without_words("st.dataframe(frame)\ncolumn.image(x, alt='')\nst.plotly_chart(f, alt=words)") == [
        "line 1: st.dataframe",
        "line 2: column.image",
    ]


def test_the_pages_draw_at_all():
    assert sum(len(drawing_calls(path.read_text())) for path in Path("pages").glob("*/*.py")) > 25
