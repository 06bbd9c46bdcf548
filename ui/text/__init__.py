"""The page's texts, plain and as Markdown. Pure functions."""
