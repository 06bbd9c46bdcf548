-- How each step of the trainer ended, as it says itself; the exporter shows the last of each.
CREATE TABLE trainer_steps (
    run_id      text NOT NULL,
    step        text NOT NULL,
    exit_status smallint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL
);
CREATE INDEX trainer_steps_last ON trainer_steps (step, finished_at DESC);
