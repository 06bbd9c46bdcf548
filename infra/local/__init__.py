"""The local stack: every service on one machine, without Docker, under supervisord."""
