"""The ASGI application: Streamlit's page behind the origin guard. ``streamlit run`` finds ``app`` here by its class."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from ui.origin_guard import OriginGuardMiddleware
from ui.settings import HostSettings

app = App(
    Path(__file__).with_name("app.py"), middleware=[Middleware(OriginGuardMiddleware, names=HostSettings().host_names)]
)
