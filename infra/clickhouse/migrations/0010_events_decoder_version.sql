-- Of one record that two versions of the decoder stored, the later one's row sets the signal, whatever its value: an old
-- decoder's mistake is mended by reading the record again. `services/contracts/signals.py` says the same.
ALTER TABLE events ADD COLUMN IF NOT EXISTS decoder_version UInt8 DEFAULT 2 COMMENT 'of the consumer that stored the row'
    AFTER schema_version;

ALTER TABLE signals_mv MODIFY QUERY
WITH
    multiIf(
        action = 'rate', assumeNotNull(value),
        action IN ('like', 'watch'), toFloat32(1),
        action = 'dislike', toFloat32(-1),
        toFloat32(0)
    ) AS set_to
SELECT
    user_id,
    item_id,
    multiIf(action IN ('rate', 'unrate'), 'rating', action IN ('watch', 'unwatch'), 'watched', 'opinion') AS signal,
    set_to AS value,
    event_time,
    bitOr(
        bitOr(
            bitShiftLeft(toUInt128(toUnixTimestamp64Micro(event_time)), 64),
            bitShiftLeft(bitAnd(toUInt128(event_id), toUInt128(67108863)), 38)
        ),
        bitOr(
            bitShiftLeft(bitAnd(toUInt128(decoder_version), toUInt128(63)), 32),
            toUInt128(reinterpretAsUInt32(set_to))
        )
    ) AS version
FROM events;
