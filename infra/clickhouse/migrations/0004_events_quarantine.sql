-- Records of either topic that could not be stored as what they claim to be, byte for byte, with the reason.
CREATE TABLE IF NOT EXISTS events_quarantine (
    epoch           UInt64,
    partition       UInt64,
    offset          UInt64,
    topic           LowCardinality(String),
    record_time     DateTime64(3, 'UTC'),
    key             String,
    value           String COMMENT 'the raw bytes',
    reason          LowCardinality(String),
    detail          String,
    decoder_version UInt16,
    user_id         Nullable(Int64) COMMENT 'when it can be told, so that the viewer can be erased',
    inserted_at     DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (epoch, partition, offset)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Which of them `replay` has produced again. A crash between the two repeats the record; the views show it once.
CREATE TABLE IF NOT EXISTS quarantine_replays (
    epoch       UInt64,
    partition   UInt64,
    offset      UInt64,
    replayed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (epoch, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
