"""How the stock admin writes dates."""
