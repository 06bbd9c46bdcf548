"""The pages; `ui.app` runs one of them at a time.

Not named ``pages``: Streamlit takes a folder of that name beside the main script for its older kind of multipage app
and would bypass the router.
"""
