"""The trainer: signals from ClickHouse in; checked model bundles and rows of the registry out."""
