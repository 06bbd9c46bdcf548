-- What everything reads: no copies of a row (FINAL), no erased viewers, and every event once even when its record was
-- produced twice (a client's retry, a replay). Of two records of one event the later event_time counts, as in signals.
CREATE VIEW IF NOT EXISTS events_v AS
SELECT epoch, partition, offset, record_time, event_id, user_id, item_id, action, value, event_time, request_id,
    source, schema_version, inserted_at
FROM events FINAL
WHERE user_id NOT IN (SELECT user_id FROM erased_users)
ORDER BY event_time DESC, epoch, partition, offset
LIMIT 1 BY user_id, event_id;

CREATE VIEW IF NOT EXISTS signals_v AS
SELECT user_id, item_id, signal, value, event_time, version
FROM signals FINAL
WHERE user_id NOT IN (SELECT user_id FROM erased_users);

CREATE VIEW IF NOT EXISTS impressions_v AS
SELECT epoch, partition, offset, record_time, request_id, user_id, item_ids, strategy, variant, model_version,
    served_at, schema_version, inserted_at
FROM impressions FINAL
WHERE user_id NOT IN (SELECT user_id FROM erased_users)
ORDER BY epoch, partition, offset
LIMIT 1 BY user_id, request_id;

CREATE VIEW IF NOT EXISTS events_quarantine_v AS
SELECT epoch, partition, offset, topic, record_time, key, value, reason, detail, decoder_version, user_id, inserted_at,
    (epoch, partition, offset) IN (SELECT epoch, partition, offset FROM quarantine_replays) AS replayed
FROM events_quarantine FINAL
WHERE ifNull(user_id, 0) NOT IN (SELECT user_id FROM erased_users);
