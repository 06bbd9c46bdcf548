"""What is served: an opened bundle, and which one."""
