"""Apache Kafka for one machine, without Docker; librdkafka's in-memory broker where Java is missing."""
