"""The importer: loads MovieLens data sets and landed files into ClickHouse (events) and PostgreSQL (catalogue)."""
