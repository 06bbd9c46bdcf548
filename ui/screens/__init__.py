"""The pages; `ui.app` runs one of them per visit.

Not named ``pages``: beside the main script Streamlit takes a folder of that name for its older kind of
app, and runs a page without the router whenever the first visitor asks for that page.
"""
