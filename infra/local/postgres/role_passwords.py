"""The passwords of the services' roles (`services/common/postgres_roles.py`) in the stack's own PostgreSQL."""

import hashlib
import hmac

from services.common.postgres_roles import ROLES


def password_of(role: str, secret: str) -> str:
    """The password of `role`, which follows from `secret`, that of `movierecs`, and does not lead back to it."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def passwords(secret: str) -> dict[str, str]:
    """The password of each role."""
    return {role: password_of(role, secret) for role in ROLES}
