-- One row per model bundle; at most one champion, which is what the replicas serve.
CREATE TABLE model_versions (
    version     text PRIMARY KEY,
    run_id      text NOT NULL UNIQUE,
    stage       text NOT NULL DEFAULT 'candidate'
                CHECK (stage IN ('candidate', 'champion', 'archived', 'rejected')),
    metrics     jsonb NOT NULL DEFAULT '{}',
    manifest    jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    promoted_at timestamptz,
    reason      text
);
CREATE UNIQUE INDEX model_versions_one_champion ON model_versions (stage) WHERE stage = 'champion';
