"""What Streamlit serves: the page, behind the demo's doors. ``streamlit run`` finds ``app`` here by its class."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from ui.doors import Doors
from ui.settings import DoorSettings

app = App(Path(__file__).with_name("app.py"), middleware=[Middleware(Doors, names=DoorSettings().host_names)])
