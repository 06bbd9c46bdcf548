-- The importer forgets erased viewers in landed files, the trainer everywhere else: each notes its own part, and an erasure
-- is pending until both have. From now on forgotten_at is the trainer's part.
ALTER TABLE erased_users ADD COLUMN files_forgotten_at timestamptz;
UPDATE erased_users SET files_forgotten_at = forgotten_at;
DROP INDEX erased_users_pending;
CREATE INDEX erased_users_pending ON erased_users (erased_at)
    WHERE forgotten_at IS NULL OR files_forgotten_at IS NULL;
