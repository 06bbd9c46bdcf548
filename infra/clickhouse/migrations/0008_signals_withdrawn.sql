-- `unrate` and `unwatch` withdraw: 0 is the value of a signal that was taken back. A version holds its value in its
-- lowest 32 bits, so that one id used for two events cannot make two states (services/contracts/signals.py says the same).
-- The view is changed in place: without it for a moment, events would be stored that set no signal.
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
            bitShiftLeft(bitAnd(toUInt128(event_id), toUInt128(4294967295)), 32)
        ),
        toUInt128(reinterpretAsUInt32(set_to))
    ) AS version
FROM events;
