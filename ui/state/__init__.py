"""What a visit is about: who watches, what the address says, what was said and how it is taken back."""
