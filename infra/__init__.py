"""What the services run on: databases, broker, images, dashboards, requirements."""
