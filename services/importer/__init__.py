"""The importer: MovieLens data sets and landed files in; events in ClickHouse and the catalogue in PostgreSQL out."""
