"""How far healthy units move from one clean run to another: the widths that models carry."""
