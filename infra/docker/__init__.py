"""What the container images hold beside the services."""
