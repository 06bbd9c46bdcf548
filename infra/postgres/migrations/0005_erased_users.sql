-- Viewers who asked to be forgotten, for the replicas that serve lists: they read it when they start and listen for
-- `user_erased`. ClickHouse has its own list for what is stored there. An id stays erased for ever.
CREATE TABLE erased_users (
    user_id   bigint PRIMARY KEY CHECK (user_id > 0),
    erased_at timestamptz NOT NULL DEFAULT now()
);
