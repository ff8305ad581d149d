"""`writ demo`: a whole mesh on loopback, real processes throughout, and a scenario that shows what it is for.

`language` and `server` are the AI that is called; `mesh` starts and ends processes; `scenario` tells the story.
"""
