#!/bin/bash
# Run by PostgreSQL's image when the volume is new: a database of Airflow's own, and a role that owns only that.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$AIRFLOW_POSTGRES_PASSWORD" --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'password';
CREATE DATABASE airflow OWNER airflow;
REVOKE CONNECT ON DATABASE airflow FROM PUBLIC;
REVOKE CONNECT ON DATABASE :"DBNAME" FROM PUBLIC;
SQL
