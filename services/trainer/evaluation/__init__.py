"""How good models are, and the gate."""
