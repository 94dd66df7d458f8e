"""How a model was made: recipes, cards, keeping what was made, and making it again."""
