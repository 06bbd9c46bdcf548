"""The probe: likes a film as a viewer of its own, all the time, and measures until that viewer's list follows."""
