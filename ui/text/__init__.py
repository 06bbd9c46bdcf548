"""What the page says, in words and as Markdown. Pure functions."""
