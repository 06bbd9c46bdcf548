"""The demo: a Streamlit page over the REST API. It imports only `services.contracts` and `services.client`."""
