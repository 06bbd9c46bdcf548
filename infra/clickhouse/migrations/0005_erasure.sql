-- Viewers who asked to be forgotten. An id stays erased for ever: a replay from offset 0 cannot bring it back, and
-- nobody else is ever given the number.
CREATE TABLE IF NOT EXISTS erased_users (
    user_id   Int64,
    erased_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY user_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Offsets that are rightly in no other table, so that the audit still adds up. Says nothing about anyone.
CREATE TABLE IF NOT EXISTS absent_offsets (
    epoch     UInt64,
    partition UInt64,
    offset    UInt64,
    reason    LowCardinality(String) COMMENT 'erased: of an erased viewer; lost: a gap that an operator accepted',
    noted_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (epoch, partition, offset)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
