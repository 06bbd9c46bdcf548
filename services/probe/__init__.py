"""The probe: likes films as its own viewer and measures how long the viewer's list takes to reflect it."""
