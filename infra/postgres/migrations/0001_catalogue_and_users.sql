-- The catalogue and the viewers' demographics.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE items (
    item_id bigint PRIMARY KEY CHECK (item_id > 0),
    title   text NOT NULL,
    year    smallint,
    genres  text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX items_title_trigram ON items USING gin (lower(title) gin_trgm_ops);

CREATE TABLE users (
    user_id    bigint PRIMARY KEY CHECK (user_id > 0),
    age        smallint,
    gender     text,
    occupation text,
    zip_code   text
);
