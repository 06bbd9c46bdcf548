"""What screens are made of: parts, rows of cards, posters, feedback, the style sheet."""
