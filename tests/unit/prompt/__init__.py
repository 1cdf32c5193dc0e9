"""Templates and what they tell of a model."""
