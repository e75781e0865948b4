"""Files written so that they are whole or absent, and read as though a stranger had written them."""
