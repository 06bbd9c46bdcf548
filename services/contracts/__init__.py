"""The vocabulary that every part of MovieRecs shares. Pydantic and the standard library only."""
