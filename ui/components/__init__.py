"""The building blocks of screens: parts, rows of cards, posters, feedback, the style sheet."""
