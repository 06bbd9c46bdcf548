"""The dashboards as code: one module per dashboard, one function per panel; `make dashboards` writes the JSON."""
