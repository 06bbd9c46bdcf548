"""The trainer: MovieLens and ClickHouse in, checked model bundles and registry rows out."""
