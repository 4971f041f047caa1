"""The two papers as runnable studies: what both share stands here, each study in its own folder."""
