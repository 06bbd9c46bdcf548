"""The films: titles, years, genres, search."""
