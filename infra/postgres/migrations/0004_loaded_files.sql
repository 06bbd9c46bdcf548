-- Which files of ratings are in ClickHouse completely, by their content.
CREATE TABLE loaded_files (
    sha256    text PRIMARY KEY,
    name      text NOT NULL,
    rows      bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
