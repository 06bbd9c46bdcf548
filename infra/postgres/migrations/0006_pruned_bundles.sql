-- Since when a version's bundle is given up for deletion: such a version can never be served again.
ALTER TABLE model_versions ADD COLUMN pruned_at timestamptz;
ALTER TABLE model_versions ADD CONSTRAINT model_versions_champion_has_a_bundle
    CHECK (pruned_at IS NULL OR stage IN ('archived', 'rejected'));
