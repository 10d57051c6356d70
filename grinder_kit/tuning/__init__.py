"""Search for a grid that would have earned later: spaces, studies, what luck explains, and the way to production."""
