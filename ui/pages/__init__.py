"""The pages; `app` runs one of them per visit."""
