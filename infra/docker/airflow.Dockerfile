# Airflow's official image with the nightly DAG, and the importer and the trainer in a virtual environment of their own:
# Airflow's pins exclude RecTools', and the DAG only starts their command lines.
ARG AIRFLOW_VERSION=3.3.2-python3.11
FROM apache/airflow:${AIRFLOW_VERSION}
USER root
# LightGBM, which the trainer runs, needs OpenMP's library.
RUN apt-get update && apt-get install --no-install-recommends --yes libgomp1 && rm -rf /var/lib/apt/lists/*
# The services' id, as all write and read the models; in the group by which Airflow's image lets any user run it.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /home/airflow movierecs \
 && install --directory --owner=10001 --group=0 --mode=0775 /models /runs /landing
COPY infra/requirements/trainer.txt /tmp/requirements.txt
RUN python -m venv /opt/trainer
RUN PIP_USER=0 /opt/trainer/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/requirements.txt
# The DAG runs both in the folder above its own.
WORKDIR /opt/movierecs
COPY services/__init__.py services/__init__.py
COPY services/contracts services/contracts
COPY services/common services/common
COPY services/models services/models
COPY services/importer services/importer
COPY services/trainer services/trainer
COPY dags dags
# Airflow's home; it imports the module by its name.
COPY infra/airflow/airflow_local_settings.py /opt/airflow/config/
ENV IMPORTER_COMMAND="/opt/trainer/bin/python -m services.importer" \
    TRAINER_COMMAND="/opt/trainer/bin/python -m services.trainer" \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1
USER 10001:0
