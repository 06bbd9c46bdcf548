-- The latest value of each signal per viewer and film. `version` orders the events that set one signal: time first,
-- then the lower half of the event's id, so that the order of arrival never matters (services/contracts/signals.py
-- says the same; a test compares them). Not partitioned: rows of one key must always be able to merge.
CREATE TABLE IF NOT EXISTS signals (
    user_id    Int64,
    item_id    Int64,
    signal     LowCardinality(String),
    value      Float32,
    event_time DateTime64(6, 'UTC'),
    version    UInt128
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (user_id, item_id, signal)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS signals_mv TO signals AS
SELECT
    user_id,
    item_id,
    multiIf(action = 'rate', 'rating', action = 'watch', 'watched', 'opinion') AS signal,
    multiIf(
        action = 'rate', assumeNotNull(value),
        action IN ('like', 'watch'), toFloat32(1),
        action = 'dislike', toFloat32(-1),
        toFloat32(0)
    ) AS value,
    event_time,
    bitOr(
        bitShiftLeft(toUInt128(toUnixTimestamp64Micro(event_time)), 64),
        bitAnd(toUInt128(event_id), toUInt128(18446744073709551615))
    ) AS version
FROM events;
