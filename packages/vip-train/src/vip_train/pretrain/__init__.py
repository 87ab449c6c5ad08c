"""Makes the small T5 that ships with this package, or another one from a corpus of your own."""
