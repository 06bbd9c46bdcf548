"""What several tests need: real processes, and the real services built on them."""
