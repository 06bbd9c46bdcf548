-- When the last of an erased viewer's data left bundles, run folders and landed files; NULL: the next night sees to it.
ALTER TABLE erased_users ADD COLUMN forgotten_at timestamptz;
CREATE INDEX erased_users_pending ON erased_users (erased_at) WHERE forgotten_at IS NULL;
-- A bundle that held erased viewers is replaced by a copy without them: another version of the same run.
ALTER TABLE model_versions
    ADD COLUMN replaced_by text REFERENCES model_versions (version) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE model_versions DROP CONSTRAINT model_versions_run_id_key;
CREATE UNIQUE INDEX model_versions_one_per_run ON model_versions (run_id) WHERE replaced_by IS NULL;
