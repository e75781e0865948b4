"""The app: page config, frame and the list of pages. Start it with `streamlit run app.py`."""

import logging

import streamlit as st

from pages.shared.frame import set_imports_aside, use_the_width, warn_unless_loopback


def sections() -> dict[str, list[st.Page]]:
    """The pages of the sidebar under their headings."""
    return {
        "Runs": [
            st.Page("pages/runs/overview.py", title="Overview", icon=":material/table_rows:", default=True),
            st.Page("pages/runs/launch.py", title="Launch", icon=":material/rocket_launch:"),
            st.Page("pages/runs/curves.py", title="Curves", icon=":material/show_chart:"),
            st.Page("pages/runs/compare.py", title="Compare", icon=":material/compare_arrows:"),
            st.Page("pages/runs/health.py", title="Health", icon=":material/stethoscope:"),
        ],
        "Images": [
            st.Page("pages/images/predictions.py", title="Predictions", icon=":material/image_search:"),
            st.Page("pages/images/next_to_label.py", title="Next to label", icon=":material/new_label:"),
            st.Page("pages/images/upload.py", title="Own picture", icon=":material/upload:"),
        ],
        "Method": [
            st.Page("pages/method/cutmix.py", title="CutMix", icon=":material/select_all:"),
            st.Page("pages/method/similarity.py", title="Similarity", icon=":material/grid_on:"),
            st.Page("pages/method/pairs.py", title="Pairs", icon=":material/share:"),
            st.Page("pages/method/playground.py", title="Playground", icon=":material/tune:"),
            st.Page("pages/method/others.py", title="Other methods", icon=":material/category:"),
        ],
        "Learn": [
            st.Page("pages/learn/lesson.py", title="Lesson", icon=":material/school:"),
            st.Page("pages/learn/glossary.py", title="Glossary", icon=":material/menu_book:"),
        ],
    }


if __name__ == "app":
    # The server imports this file once as it starts, to serve `app`. Until st.navigation is called for the first time,
    # streamlit takes a folder named `pages` for its older kind of app, and a link to a page for one to no page.
    logging.disable(logging.WARNING)  # each page would warn that nobody looks at it yet
    st.navigation(sections())
    logging.disable(logging.NOTSET)
    app = st.App(__file__)
else:
    st.set_page_config(page_title="Structured consistency", page_icon="pages/shared/icon.png", layout="wide")
    page = st.navigation(sections(), expanded=True)
    use_the_width()
    warn_unless_loopback()
    try:
        page.run()
    finally:  # also where a page stops itself
        set_imports_aside()
