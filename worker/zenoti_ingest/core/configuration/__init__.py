"""How what an operator writes is read, and what it may have meant."""
