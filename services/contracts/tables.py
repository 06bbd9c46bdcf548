"""ClickHouse tables and views, and PostgreSQL tables, written once. Readers use the views."""

# ClickHouse: what the consumer writes
EVENTS = "events"
EVENTS_QUARANTINE = "events_quarantine"
IMPRESSIONS = "impressions"
# ClickHouse: fed by a materialized view
SIGNALS = "signals"
# ClickHouse: erasure and audit
ERASED_USERS = "erased_users"
ABSENT_OFFSETS = "absent_offsets"
TOPIC_EPOCHS = "topic_epochs"
QUARANTINE_REPLAYS = "quarantine_replays"
AUDIT_LEDGER = "audit_ledger"
# ClickHouse: what everything reads – no duplicates, no erased users
EVENTS_VIEW = "events_v"
SIGNALS_VIEW = "signals_v"
IMPRESSIONS_VIEW = "impressions_v"
QUARANTINE_VIEW = "events_quarantine_v"

# PostgreSQL
ITEMS = "items"
CATALOGUE_VERSION = "catalogue_version"
USERS = "users"
LOADED_FILES = "loaded_files"
MODEL_VERSIONS = "model_versions"
TRAINER_STEPS = "trainer_steps"
MODEL_PROMOTED_CHANNEL = "model_promoted"
USER_ERASED_CHANNEL = "user_erased"
CATALOGUE_CHANGED_CHANNEL = "catalogue_changed"

FILES_EPOCH = 0
"""The epoch of rows that came from files: partition = hash of the file's content, offset = row number."""
