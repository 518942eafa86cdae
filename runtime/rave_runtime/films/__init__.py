"""Films: the light of every frame, steadied over time, and its division on the film's own planes."""
