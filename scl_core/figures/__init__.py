"""Pictures of results: arrays and plain records in, plotly figures out. Nothing here knows Streamlit or torch."""
