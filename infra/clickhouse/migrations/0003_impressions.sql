-- The lists that were served, one row per Kafka record of the topic `impressions`.
CREATE TABLE IF NOT EXISTS impressions (
    epoch          UInt64,
    partition      UInt64,
    offset         UInt64,
    record_time    DateTime64(3, 'UTC'),
    request_id     UUID,
    user_id        Int64,
    item_ids       Array(Int64) COMMENT 'in the order shown, best first',
    strategy       LowCardinality(String),
    variant        LowCardinality(String),
    model_version  LowCardinality(String),
    served_at      DateTime64(6, 'UTC'),
    schema_version UInt8,
    inserted_at    DateTime64(3, 'UTC') DEFAULT now64(3),
    INDEX impressions_user user_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (epoch, partition, offset)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
