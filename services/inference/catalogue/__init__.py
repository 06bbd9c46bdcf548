"""Films: titles, years, genres, and finding one."""
