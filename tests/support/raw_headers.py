"""Records with header names that Python's Kafka client would not send: straight through its librdkafka."""

import ctypes
from pathlib import Path

import confluent_kafka

_PRODUCER, _CONF_OK, _COPY = 0, 0, 2
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADER = 0, 1, 3, 4, 5, 7, 9


def produce(bootstrap: str, topic: str, *, key: bytes, value: bytes, headers: list[tuple[bytes, bytes | None]]) -> None:
    """Send one record to partition 0 and return once the broker has it."""
    (library,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    rdkafka = ctypes.CDLL(str(library))
    rdkafka.rd_kafka_conf_new.restype = rdkafka.rd_kafka_new.restype = ctypes.c_void_p
    reason = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(rdkafka.rd_kafka_conf_new())
    set_ = rdkafka.rd_kafka_conf_set
    assert set_(conf, b"bootstrap.servers", bootstrap.encode(), reason, ctypes.c_size_t(512)) == _CONF_OK, reason.value
    client = ctypes.c_void_p(rdkafka.rd_kafka_new(_PRODUCER, conf, reason, ctypes.c_size_t(512)))
    assert client, reason.value
    arguments: list[object] = [
        _TOPIC, ctypes.c_char_p(topic.encode()), _PARTITION, ctypes.c_int32(0), _FLAGS, _COPY,
        _KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key)),
        _VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value)),
    ]  # fmt: skip
    for name, text in headers:
        length = ctypes.c_ssize_t(0 if text is None else len(text))
        arguments += [_HEADER, ctypes.c_char_p(name), ctypes.c_char_p(text), length]
    try:
        assert rdkafka.rd_kafka_producev(client, *arguments, _END) == 0, "librdkafka refused the record"
        assert rdkafka.rd_kafka_flush(client, 30_000) == 0, "the broker did not answer"
    finally:
        rdkafka.rd_kafka_destroy(client)
