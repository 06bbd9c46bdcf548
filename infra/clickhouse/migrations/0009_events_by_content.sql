-- An event is its id and what it says. A client that uses one id for two different events has sent two: `signals` holds
-- both, so `events_v` must not hide one of them. Of copies of one event the latest event_time counts, as in `signals`:
-- the events of this view, taken in any order, make `signals_v`.
CREATE OR REPLACE VIEW events_v AS
SELECT epoch, partition, offset, record_time, event_id, user_id, item_id, action, value, event_time, request_id,
    source, schema_version, inserted_at
FROM events FINAL
WHERE user_id NOT IN (SELECT user_id FROM erased_users)
ORDER BY event_time DESC, epoch, partition, offset
LIMIT 1 BY user_id, event_id, item_id, action, value;

ALTER TABLE absent_offsets COMMENT COLUMN reason
    'erased: of an erased viewer; lost: a gap that an operator accepted; no_record: Kafka has none here';
