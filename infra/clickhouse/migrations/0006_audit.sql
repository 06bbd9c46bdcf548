-- Where reading each incarnation of a topic began; `epoch` is the number of `topic_id` in all tables.
CREATE TABLE IF NOT EXISTS topic_epochs (
    epoch        UInt64,
    partition    UInt64,
    topic        LowCardinality(String),
    topic_id     String,
    first_offset UInt64,
    noted_at     DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (epoch, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What each audit found. Offsets and counts only, nothing about anyone, so erasure never touches it.
CREATE TABLE IF NOT EXISTS audit_ledger (
    audited_at DateTime64(3, 'UTC'),
    topic      LowCardinality(String),
    epoch      UInt64,
    partition  UInt64,
    scope      LowCardinality(String) COMMENT 'full: from the first offset; tail: from the last verified one',
    from_offset UInt64,
    committed  UInt64 COMMENT 'offsets from from_offset up to here (excluded) must be stored',
    missing    UInt64
)
ENGINE = MergeTree
ORDER BY (topic, epoch, partition, audited_at)
TTL toDateTime(audited_at) + INTERVAL 1 YEAR;
