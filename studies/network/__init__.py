"""What a network can do on top of the model of the common part, role by role, with and without it, and a bound."""
