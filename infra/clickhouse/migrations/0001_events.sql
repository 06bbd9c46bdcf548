-- One row per Kafka record (or line of a file), identified by where it came from, so that writing it again
-- changes nothing. The month is that of Kafka's record time, which a redelivery repeats: copies of a row always
-- meet in one partition and merge. An acknowledged insert is on disk (fsync).
CREATE TABLE IF NOT EXISTS events (
    epoch          UInt64 COMMENT 'incarnation of the topic; 0: from a file',
    partition      UInt64,
    offset         UInt64,
    record_time    DateTime64(3, 'UTC'),
    event_id       UUID,
    user_id        Int64,
    item_id        Int64,
    action         LowCardinality(String),
    value          Nullable(Float32),
    event_time     DateTime64(6, 'UTC'),
    request_id     Nullable(UUID),
    source         LowCardinality(String),
    schema_version UInt8,
    inserted_at    DateTime64(3, 'UTC') DEFAULT now64(3),
    INDEX events_user user_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (epoch, partition, offset)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
