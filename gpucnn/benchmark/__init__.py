"""How fast gpucnn is: beside PyTorch, and beside what the machine could do at best. `gpucnn bench` runs it."""
