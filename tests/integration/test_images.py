"""The images' Python parts for real: installed by their Dockerfile's own steps, run in a tree of what they copy."""

from pathlib import Path

import httpx

from tests.support.dockerfile import image
from tests.support.images import Prefix
from tests.support.ports import free_port


def test_the_inference_image_starts_with_nothing_but_what_it_copies(tmp_path: Path) -> None:
    prefix = Prefix("inference", image(target="inference", SERVICE="inference"), tmp_path / "inference").build()
    port = free_port()
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "CLICKHOUSE_URL": "http://default:@127.0.0.1:9/default",
        "POSTGRES_DSN": "postgresql://nobody:nothing@127.0.0.1:9/none",
        "MODEL_DIR": "/nonexistent",
        "ADMIN_API_KEY": "sixteen-letters-x",
        "INFERENCE_PORT": str(port),
    }

    def lives() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    with prefix.service(prefix.image.command, given) as process:
        process.wait_ready(lives, 60)
        assert process.stop(deadline_seconds=20) == 0
